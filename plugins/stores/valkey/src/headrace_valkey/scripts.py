"""The two scripts of rate limits.

Numbers of a server's Lua are doubles, exact up to 2**53 only, and limits go up to 2**63 - 1. So a whole number is a
pair here, ``{high, low}`` for ``high * 10**9 + low`` with ``0 <= low < 10**9``: the last nine digits of its text.
Instants are microseconds since the epoch, which a double holds until the year 2255.
"""

from __future__ import annotations

from typing import Final

from .server import Script

_COMMON = """
local BASE = 1000000000
local ZERO = {0, 0}
local LEAST = {-9223372037, 145224193}  -- -(2^63 - 1)

local function number(high, low)
  local carry = math.floor(low / BASE)
  return {high + carry, low - carry * BASE}
end

local function plus(a, b)
  return number(a[1] + b[1], a[2] + b[2])
end

local function minus(a, b)
  return number(a[1] - b[1], a[2] - b[2])
end

local function less(a, b)
  return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])
end

-- Of what is not negative; exact up to 4 * 10^19, which fills any bucket from any debt, so that more comes out as that.
local function times(a, n)
  local high = a[1] * n
  if high > 4e10 then
    return {4e10, 0}
  end
  -- low * n may be beyond 2^53, so n goes in two parts
  local many = math.floor(n / 1e6)
  local part = a[2] * many
  local thousands = math.floor(part / 1e3)
  return number(high + thousands, a[2] * (n - many * 1e6) + (part - thousands * 1e3) * 1e6)
end

local function read(text)
  local sign, digits = string.match(text, '^(-?)(%d+)$')
  local value = {tonumber(string.sub(digits, 1, -10)) or 0, tonumber(string.sub(digits, -9))}
  return sign == '-' and minus(ZERO, value) or value
end

local function written(a)
  if a[1] < 0 then
    return '-' .. written(minus(ZERO, a))
  end
  return a[1] == 0 and string.format('%.0f', a[2]) or string.format('%.0f%09.0f', a[1], a[2])
end

local function double(a)
  return a[1] * BASE + a[2]
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1e6 + tonumber(time[2])

local function bucket(i)
  local at = 4 * (i - 1)
  local b = {
    key = KEYS[i], capacity = read(ARGV[at + 1]), rate = read(ARGV[at + 2]), window = tonumber(ARGV[at + 3]),
    amount = read(ARGV[at + 4]),
  }
  local found = redis.call('HMGET', b.key, 'balance', 'last_refilled')
  if not found[1] then
    b.balance, b.filled = b.capacity, now
    return b
  end
  local filled = tonumber(found[2])
  local windows = math.max(0, math.floor((now - filled) / b.window))
  b.filled = filled + windows * b.window
  b.balance = plus(read(found[1]), times(b.rate, windows))
  if less(b.capacity, b.balance) then
    b.balance = b.capacity
  end
  return b
end

-- A bucket that nobody uses is forgotten once it would be full anyway, twice as late as that, and after two days.
local function keep(b, balance)
  redis.call('HSET', b.key, 'balance', written(balance), 'last_refilled', string.format('%.0f', b.filled))
  local empty, rate = double(b.capacity) - math.min(0, double(balance)), double(b.rate)
  local ttl_ms = rate > 0 and math.max(172800000, 2 * math.ceil(empty / rate) * b.window / 1e3) or math.huge
  if ttl_ms < 1e15 then
    redis.call('PEXPIRE', b.key, string.format('%.0f', ttl_ms))
  else
    redis.call('PERSIST', b.key)
  end
end
"""

TAKE: Final = Script(
    _COMMON
    + """
local buckets, had, suffices = {}, {}, true
for i = 1, #KEYS do
  local b = bucket(i)
  buckets[i], had[i] = b, written(b.balance)
  suffices = suffices and (double(b.amount) == 0 or not less(b.balance, b.amount))
end
if suffices then
  for _, b in ipairs(buckets) do
    keep(b, minus(b.balance, b.amount))
  end
end
return had
"""
)

SETTLE: Final = Script(
    _COMMON
    + """
for i = 1, #KEYS do
  local b = bucket(i)
  local balance = plus(b.balance, b.amount)
  if less(b.capacity, balance) then
    balance = b.capacity
  elseif less(balance, LEAST) then
    balance = LEAST
  end
  keep(b, balance)
end
return 1
"""
)
