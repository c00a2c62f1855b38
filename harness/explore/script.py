"""Scripts inside Redis: they are told the schedule's time, and what they touch beside their keys is seen.

What is put around a script stands between it and the store: `redis.call` and `redis.pcall` go through it. The store's
clock is the schedule's, times to live are those of `leases`, and keys that were not declared are noted.
"""

from __future__ import annotations

import re
from typing import Any

from harness.explore.leases import ASKING, FAR_MS, MOST_MS, OWN_CLOCK, STRETCH, UNCHOSEN, UNITS, WHOLE

_MARK = "race: other keys"


def _table(pairs: dict[str, tuple[Any, ...]]) -> str:
    rows = (f"{name} = {{{', '.join(map(_word, values))}}}" for name, values in pairs.items())
    return f"{{{', '.join(rows)}}}"


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool | int) else f"'{value}'"


_BEFORE = f"""
local race_told
local redis, server = redis
do
local store, mine, others, told = redis, {{}}, {{}}, {{}}
local now = tonumber(table.remove(ARGV))
local began = tonumber(table.remove(ARGV))
local units, whole, asking = {_table(UNITS)}, {_table(WHOLE)}, {_table(dict.fromkeys(sorted(ASKING), (True,)))}
local alone = {_table(dict.fromkeys(("GET", "SET", "INCR", "INCRBY", "DECR", "HGET", "HSET", "SADD", "ZADD"), (True,)))}
for _, key in ipairs(KEYS) do mine[key] = true end
local function length(unit, amount)
  local known, number = units[unit], tonumber(amount)
  if not known or not number or number ~= math.floor(number) then return nil end
  local ms = number * known[1]
  if not known[2] and ms <= 0 then return nil end
  if known[2] then ms = ms - now end
  if ms < {MOST_MS} then return ms end
end
local function far(ms) return string.format('%.0f', {FAR_MS} + (now - began + ms) * {STRETCH}) end
local function lengthen(words, name)
  if whole[name] and #words > 2 then
    local ms = length(whole[name][2], words[3])
    if ms and (ms > 0 or whole[name][1] == 'PEXPIRE') then
      words[1], words[3] = whole[name][1], ms > 0 and far(ms) or '0'
    end
  elseif name == 'SET' or name == 'GETEX' then
    for place = name == 'SET' and 4 or 3, #words - 1 do
      local ms = length(string.upper(tostring(words[place])), words[place + 1])
      if ms then
        words[place], words[place + 1] = ms > 0 and 'PX' or 'PXAT', ms > 0 and far(ms) or '1'
        return
      end
    end
  end
end
local function look(words, name)
  if mine[words[2]] and (#words == 2 or alone[name]) then return end
  local keys = store.pcall('COMMAND', 'GETKEYS', unpack(words))
  if keys.err then return end
  for _, key in ipairs(keys) do
    if not mine[key] and not others[key] then
      others[key] = true
      table.insert(told, key)
    end
  end
end
local function through(call, ...)
  local words = {{...}}
  local name = string.upper(tostring(words[1]))
  if name == 'TIME' then
    return {{string.format('%d', math.floor(now / 1000)), string.format('%d', now % 1000 * 1000)}}
  end
  if #words < 2 then return call(...) end
  look(words, name)
  if asking[name] and #words == 2 then
    local ttl = call('PTTL', words[2])
    if type(ttl) ~= 'number' or ttl < 0 then return ttl end
    if ttl < {FAR_MS} then return call(...) end
    local ends = began + math.ceil((ttl - {FAR_MS}) / {STRETCH} - 0.001)
    local left = math.max(0, ends - now)
    if name == 'PTTL' then return left end
    if name == 'TTL' then return math.floor((left + 500) / 1000) end
    return name == 'PEXPIRETIME' and now + left or math.floor((now + left + 500) / 1000)
  end
  lengthen(words, name)
  return call(unpack(words))
end
redis = setmetatable({{}}, {{__index = store}})
redis.call = function(...) return through(store.call, ...) end
redis.pcall = function(...) return through(store.pcall, ...) end
if rawget(_G, 'server') then server = redis end
race_told = function(reply)
  if #told == 0 then return reply end
  return {{'{_MARK}', told, reply or false}}
end
end
local function race_script()
"""
_AFTER = """
end
return race_told(race_script())
"""
_NAMED = re.compile(r"(call\s*\(?\s*)?[\"'](\w+)[\"']")


_TIME = re.compile(r"[\"'](?:time|\w*ttl|\w*expire\w*|p?setex|getex|(?:ex|px)(?:at)?)[\"']", re.IGNORECASE)


def asks_time(source: str) -> bool:
    """Whether it may look at the clock."""
    return _TIME.search(source) is not None


def watched(source: str) -> str:
    """A script that is told the time and watched. Its last two arguments are when the schedule began, and its now."""
    first, _, rest = source.partition("\n") if source.startswith("#!") else ("", "", source)
    return f"{first}{_BEFORE}{rest}{_AFTER}"


def unchosen_in(source: str) -> list[str]:
    """What no schedule chooses of what a script does, each as it is said."""
    named = [(name.upper(), bool(called)) for called, name in _NAMED.findall(source)]
    own_clock = any(name in OWN_CLOCK and (called or name not in _WORDS) for name, called in named)
    drawn = dict.fromkeys(unchosen(name) for name, called in named if called and name in UNCHOSEN)
    return ["something in a script ends by the store's own clock"] * own_clock + [*drawn]


_WORDS = frozenset({"OBJECT"})
"""They may be anything but a command."""


def unchosen(name: str) -> str:
    """That an answer of a command is no choice of a schedule."""
    return f"what {name} {UNCHOSEN[name]} is no choice of a schedule"


def answered(reply: Any) -> tuple[Any, list[bytes]]:
    """What a script has answered, and the keys that it named without declaring them."""
    if isinstance(reply, list) and len(reply) == 3 and reply[0] == _MARK.encode():
        return reply[2], reply[1]
    return reply, []
