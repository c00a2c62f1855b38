-- wrk -t USERS -c USERS -s wrk_pairs.lua URL -- RUN: each thread has one connection and goes through the same keys.
-- Prints one line for each answer: key, status, arrival by the service's stamp.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
  thread:set("who", #threads)
end

function init(args)
  run, key, told = args[1] or "run", 0, {}
end

function request()
  key = key + 1
  return wrk.format("POST", "/looks-first/wrk-" .. run .. "-" .. key, nil, who .. "-" .. key)
end

function response(status, headers, body)
  told[#told + 1] = key .. " " .. status .. " " .. (headers["Race-Arrived-Ns"] or "0")
  text = #told % 256 == 0 and table.concat(told, "\n") or text
end

function done(summary, latency, requests)
  for _, thread in ipairs(threads) do
    io.write("answers\n", thread:get("text") or "", "\n")
  end
  io.write("rate ", summary.requests / (summary.duration / 1e6), "\n")
end
