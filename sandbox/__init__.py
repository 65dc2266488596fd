"""The workshop with thick walls: runs one function in a process that can be killed.

Plain Python. Nothing here imports Django or a sibling room, so that the zygote stays clean.
"""
