-- Two threads of one connection each go through the same keys as fast as they are answered, and know nothing of one
-- another: wrk -t 2 -c 2 -d 1s -s wrk_pairs.lua URL -- BASE KEY KEY ...
-- Each prints a line for every answer at its end: the number of the key, the status, when the service says that the
-- request had arrived. wrk itself goes on until its time is over, and sends nothing.

local number = 0

function setup(thread)
  number = number + 1
  thread:set("me", number)
end

function init(args)
  base, keys, asked, found = args[1], { unpack(args, 2) }, 0, {}
end

function request()
  asked = asked + 1
  local headers = { ["Race-Attempt"] = me .. "-" .. asked }
  return wrk.format("POST", base .. "/" .. (keys[asked] or "none") .. "/start", headers)
end

function response(status, headers)
  found[#found + 1] = "pair " .. #found .. " " .. status .. " " .. headers["race-arrived-ns"] .. "\n"
  if #found == #keys then
    io.write(table.concat(found))
    io.flush()
    wrk.thread:stop()
  end
end
