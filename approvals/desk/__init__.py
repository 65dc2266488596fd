"""The desk: what a person sees of held calls, and the ways in which they decide them."""
