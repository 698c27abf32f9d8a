package redis

import goredis "github.com/redis/go-redis/v9"

// Every script runs in one slot: its KEYS are those of one target, or those of
// the registry. Scores are microseconds since 1970, deadlines milliseconds of
// the server's own clock (A5); both are whole numbers below 2^53, which a double
// holds exactly.
//
// KEYS of the scripts of a target, in this order:
//
//	due     sorted set   lease id → time it falls due
//	flight  hash         lease id → "token claimed offered": the claim it is in,
//	                     the time for which it was claimed, and the earliest
//	                     later time offered since (or nothing)
//	claims  sorted set   token → deadline; a token that is not here has lapsed
//	held    hash         token → its lease ids (MessagePack); "~" token → hold, ms
//
// Each returns first where the target stands: its earliest due time ("inf":
// none) and how many claims it has. The registry is told so.
//
// allow-oom: at maxmemory claims go on, since they make room in the end; what
// adds members is refused.
const (
	withoutOOM = "#!lua\n"
	withOOM    = "#!lua flags=allow-oom\n"
	readOnly   = "#!lua flags=no-writes\n"

	// targetPrelude names the keys and what several scripts do.
	targetPrelude = `
local due, flight, claims, held = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function stands()
  local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  return first[2] or 'inf', redis.call('ZCARD', claims)
end

local function clock()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function ids(token)
  local packed = redis.call('HGET', held, token)
  return packed and cmsgpack.unpack(packed) or {}
end

-- its holder, the time for which it was claimed, and what was offered since
local function flown(id)
  local f = redis.call('HGET', flight, id)
  if f then return string.match(f, '^(%S+) (%S+) ?(%S*)$') end
end

local function forget(token)
  redis.call('ZREM', claims, token)
  redis.call('HDEL', held, token, '~' .. token)
end

-- puts the members of a claim back: first into due, then out of flight
local function lapse(token)
  local n = 0
  for _, id in ipairs(ids(token)) do
    local holder, at = flown(id)
    if holder == token then
      redis.call('ZADD', due, 'LT', at, id)
      redis.call('HDEL', flight, id)
      n = n + 1
    end
  end
  forget(token)
  return n
end
`

	// offerSource adds members or moves them earlier (D1).
	//
	//	ARGV     time, id, time, id, …
	//	returns  {earliest, claims}
	//
	// What is in flight remembers the earliest time later than its own. A member
	// whose claim has run out, or is unknown, is not in flight any more: who
	// offers it frees it, also where nobody knows that the target has claims.
	offerSource = withoutOOM + targetPrelude + `
local now = clock()
local flying = redis.call('EXISTS', flight) == 1
local add = {}
for i = 1, #ARGV, 2 do
  local at, id = ARGV[i], ARGV[i + 1]
  local token, claimed, offered
  if flying then token, claimed, offered = flown(id) end
  local deadline = token and redis.call('ZSCORE', claims, token)
  if deadline and tonumber(deadline) > now then
    if tonumber(at) > tonumber(claimed) and (offered == '' or tonumber(at) < tonumber(offered)) then
      redis.call('HSET', flight, id, token .. ' ' .. claimed .. ' ' .. at)
    end
  else
    if token then
      lapse(token)
      redis.call('ZADD', due, 'LT', claimed, id)
      redis.call('HDEL', flight, id)
    end
    add[#add + 1] = at
    add[#add + 1] = id
  end
end
if #add > 0 then redis.call('ZADD', due, 'LT', unpack(add)) end
return {stands()}
`

	// claimSource claims what is due, earliest first: in flight first, then out
	// of due.
	//
	//	ARGV     now, limit, hold (ms), token
	//	returns  {earliest, claims, {id, time, id, time, …}}
	//
	// A token that holds a claim already is that of a call whose answer was lost:
	// it gets the same members again.
	claimSource = withOOM + targetPrelude + `
local now, limit, hold, token = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local out = {}
if redis.call('ZSCORE', claims, token) then
  for _, id in ipairs(ids(token)) do
    local holder, at = flown(id)
    if holder == token then
      out[#out + 1] = id
      out[#out + 1] = at
    end
  end
else
  out = redis.call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
end
if #out > 0 and not redis.call('ZSCORE', claims, token) then
  local names, flights = {}, {}
  for i = 1, #out, 2 do
    names[#names + 1] = out[i]
    flights[#flights + 1] = out[i]
    flights[#flights + 1] = token .. ' ' .. out[i + 1]
  end
  redis.call('HSET', held, token, cmsgpack.pack(names), '~' .. token, hold)
  redis.call('ZADD', claims, clock() + tonumber(hold), token)
  redis.call('HSET', flight, unpack(flights))
  redis.call('ZREM', due, unpack(names))
end
local first, n = stands()
return {first, n, out}
`

	// completeSource ends a claim. Of a time put back and one offered meanwhile
	// the earlier wins; a member with neither is gone.
	//
	//	ARGV     token, then time, id, … of the members put back
	//	returns  {earliest, claims, 1}, or 0 in place of 1: the claim has lapsed
	completeSource = withOOM + targetPrelude + `
local token, ok = ARGV[1], 0
if redis.call('ZSCORE', claims, token) then
  ok = 1
  local later = {}
  for i = 2, #ARGV, 2 do
    local at, id = ARGV[i], ARGV[i + 1]
    if not later[id] or tonumber(at) < tonumber(later[id]) then later[id] = at end
  end
  for _, id in ipairs(ids(token)) do
    local holder, _, at = flown(id)
    if holder == token then
      if later[id] and (at == '' or tonumber(later[id]) < tonumber(at)) then at = later[id] end
      if at ~= '' then redis.call('ZADD', due, 'LT', at, id) end
      redis.call('HDEL', flight, id)
    end
  end
end
forget(token)
local first, n = stands()
return {first, n, ok}
`

	// extendSource prolongs a claim from now on.
	//
	//	ARGV     token, hold (ms)
	//	returns  {earliest, claims, 1}, or 0 in place of 1: the claim has lapsed
	extendSource = withOOM + targetPrelude + `
local token, hold, ok = ARGV[1], ARGV[2], 0
if redis.call('ZSCORE', claims, token) then
  ok = 1
  redis.call('ZADD', claims, clock() + tonumber(hold), token)
  redis.call('HSET', held, '~' .. token, hold)
end
local first, n = stands()
return {first, n, ok}
`

	// lapseSource ends claims that ran out.
	//
	//	ARGV     limit, of claims
	//	returns  {earliest, claims, members put back, claims ended}
	//
	// A deadline further away than the claim's hold is that of a clock that has
	// gone back since, as at a failover to a machine whose clock is behind: it is
	// counted anew, so that the claim ends at most one hold late.
	lapseSource = withOOM + targetPrelude + `
local limit, now = tonumber(ARGV[1]), clock()
local over = redis.call('ZRANGE', claims, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
local n = 0
for _, token in ipairs(over) do n = n + lapse(token) end
local latest = redis.call('ZRANGE', claims, 0, limit - 1, 'REV', 'WITHSCORES')
for i = 1, #latest, 2 do
  local hold = tonumber(redis.call('HGET', held, '~' .. latest[i])) or 0
  if tonumber(latest[i + 1]) - now > hold then
    redis.call('ZADD', claims, now + hold, latest[i])
  end
end
local first, left = stands()
if left == 0 then redis.call('DEL', flight, held) end -- of claims that were lost
return {first, left, n, #over}
`

	// missingSource compares members with the target; it changes nothing.
	//
	//	ARGV     earliest time announced (empty: none), 1 where claims are
	//	         announced (else 0), then time, id, …
	//	returns  {place, …} of the members, from 0, that are missing
	//
	// What waits where no claimer looks, and what is in flight where nobody would
	// lapse its claim, is missing too: who offers it announces it.
	missingSource = readOnly + targetPrelude + `
local announced, flying = tonumber(ARGV[1]), ARGV[2] == '1'
local out = {}
for i = 3, #ARGV, 2 do
  local at, id, there = tonumber(ARGV[i]), ARGV[i + 1], false
  local score = tonumber(redis.call('ZSCORE', due, id)) -- of nothing: nil
  if score then
    there = score <= at and announced and announced <= score
  elseif flying then
    local token = flown(id)
    there = token and redis.call('ZSCORE', claims, token)
  end
  if not there then out[#out + 1] = (i - 3) / 2 end
end
return out
`
)

// KEYS of the scripts of the registry, in this order:
//
//	at      sorted set   target → a time not after its earliest due one; inf: none
//	flying  sorted set   target → 0: it may have claims
//	stamps  hash         target → random, changed by each announcement
const (
	registryPrelude = `
local at, flying, stamps = KEYS[1], KEYS[2], KEYS[3]

local function stamped(names, scores)
  local out = {}
  if #names > 0 then
    local s = redis.call('HMGET', stamps, unpack(names))
    for i, name in ipairs(names) do
      out[#out + 1] = name
      out[#out + 1] = s[i] or ''
      out[#out + 1] = scores[i] or '0'
    end
  end
  return out
end
`

	// announceSource says that targets changed, after they did.
	//
	//	ARGV     stamp, then target, earliest due time, claims, …
	//	returns  nothing
	announceSource = withOOM + registryPrelude + `
for i = 2, #ARGV, 3 do
  redis.call('ZADD', at, 'LT', ARGV[i + 1], ARGV[i])
  if ARGV[i + 2] ~= '0' then redis.call('ZADD', flying, 0, ARGV[i]) end
  redis.call('HSET', stamps, ARGV[i], ARGV[1])
end
`

	// settleSource takes back what was announced and is no more, and drops empty
	// targets: unless something was announced since the stamp was read, because
	// the target may have changed after it was looked at.
	//
	//	ARGV     target, stamp, earliest due time, claims, …
	//	returns  nothing
	settleSource = withOOM + registryPrelude + `
for i = 1, #ARGV, 4 do
  local target, first, n = ARGV[i], ARGV[i + 2], ARGV[i + 3]
  if (redis.call('HGET', stamps, target) or '') == ARGV[i + 1] then
    if n == '0' then redis.call('ZREM', flying, target) end
    if n == '0' and first == 'inf' then
      redis.call('ZREM', at, target)
      redis.call('HDEL', stamps, target)
    else
      redis.call('ZADD', at, first, target)
    end
  end
end
`

	// soonSource reads the targets announced for a time.
	//
	//	ARGV     until, offset, limit
	//	returns  {target, stamp, time, …}, earliest first
	soonSource = readOnly + registryPrelude + `
local got = redis.call('ZRANGE', at, '-inf', ARGV[1], 'BYSCORE', 'LIMIT', ARGV[2], ARGV[3], 'WITHSCORES')
local names, scores = {}, {}
for i = 1, #got, 2 do
  names[#names + 1] = got[i]
  scores[#scores + 1] = got[i + 1]
end
return stamped(names, scores)
`

	// flyingSource reads the targets that may have claims.
	//
	//	ARGV     after which ("-": from the first; else "(" target), limit
	//	returns  {target, stamp, "0", …}, by name
	flyingSource = readOnly + registryPrelude + `
return stamped(redis.call('ZRANGE', flying, ARGV[1], '+', 'BYLEX', 'LIMIT', 0, ARGV[2]), {})
`
)

// announcedSource reads what is announced of some targets.
//
//	ARGV     target, …
//	returns  {time (empty: not announced), 1 where claims are (else 0), …}
const announcedSource = readOnly + registryPrelude + `
local out = {}
for i, target in ipairs(ARGV) do
  out[#out + 1] = redis.call('ZSCORE', at, target) or ''
  out[#out + 1] = redis.call('ZSCORE', flying, target) and 1 or 0
end
return out
`

// scripts are the scripts with their hashes.
type scripts struct {
	offer, claim, complete, extend, lapse *goredis.Script
	announce, settle, soon, flying        *goredis.Script
	missing, announced                    *goredis.Script
}

func newScripts() scripts {
	return scripts{
		offer:    goredis.NewScript(offerSource),
		claim:    goredis.NewScript(claimSource),
		complete: goredis.NewScript(completeSource),
		extend:   goredis.NewScript(extendSource),
		lapse:    goredis.NewScript(lapseSource),
		announce: goredis.NewScript(announceSource),
		settle:   goredis.NewScript(settleSource),
		soon:     goredis.NewScript(soonSource),
		flying:   goredis.NewScript(flyingSource),

		missing:   goredis.NewScript(missingSource),
		announced: goredis.NewScript(announcedSource),
	}
}
