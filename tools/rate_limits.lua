-- Counts one call in every bucket, or in none if one is full.
-- KEYS: a sorted set of calls for each limit, by the microsecond at which they passed.
-- ARGV: a name for this call, then the limit's count and its window in seconds for each set.
-- Answers 1 or 0, then for each set how many calls count and the microseconds until there is room.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local passes = 1
for i, calls in ipairs(KEYS) do
  local count, window = tonumber(ARGV[2 * i]), ARGV[2 * i + 1] * 1000000
  redis.call('ZREMRANGEBYSCORE', calls, '-inf', now - window)
  if redis.call('ZCARD', calls) >= count then passes = 0 end
end

local answer = {passes}
for i, calls in ipairs(KEYS) do
  local count, window = tonumber(ARGV[2 * i]), ARGV[2 * i + 1] * 1000000
  if passes == 1 then
    redis.call('ZADD', calls, now, ARGV[1])
    redis.call('EXPIRE', calls, ARGV[2 * i + 1])
  end
  local used = redis.call('ZCARD', calls)
  local first = math.max(0, used - count)
  local passed_at = redis.call('ZRANGE', calls, first, first, 'WITHSCORES')[2]
  answer[#answer + 1] = used
  answer[#answer + 1] = passed_at and passed_at + window - now or 0
end
return answer
