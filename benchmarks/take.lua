-- Each request: one of the buyers takes one of the listings, under a key of its own.
-- Arguments: the file of orders, and a number that no other run has: with the same one, another run's requests would only be sent again.
local thread_number = 0
function setup(thread)
  thread:set("number", thread_number)
  thread_number = thread_number + 1
end

local buyers, listings, sent = {}, {}, 0

function init(arguments)
  math.randomseed(tonumber(arguments[2]) + number)
  for line in io.lines(arguments[1]) do
    local kind, value = line:match("^(%a+) (%S+)$")
    if kind == "key" then buyers[#buyers + 1] = value else listings[#listings + 1] = value end
  end
  run = "order-" .. arguments[2] .. "-" .. number
end

function request()
  sent = sent + 1
  local body = '{"mode":"listed","listing_id":"' .. listings[math.random(#listings)] .. '","quantity":1,"purpose":"credit risk model",'
    .. '"net":{"amount":"100000","currency":"CNY"},"vat":{"amount":"6000","currency":"CNY"},"gross":{"amount":"106000","currency":"CNY"}}'
  return wrk.format("POST", "/v1/trades", {
    ["Authorization"] = "Bearer " .. buyers[math.random(#buyers)],
    ["Content-Type"] = "application/json",
    ["Idempotency-Key"] = run .. "-" .. sent,
  }, body)
end

function done(summary, latency)
  io.write(string.format("RESULT %d %d %d %.2f %.2f\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
