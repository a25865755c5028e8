-- Echo: every client may connect, and every message is sent back.
--
-- What it shows
--   * `anonymous = true` is an identity without a user. It must be written, so that a user cannot be forgotten.
--   * A string returned by on_message is the reply. The benchmarks measure this policy.
--
-- Run it, in the project's folder:
--
--     bellhop serve --dev --listen 127.0.0.1:8100 --policy examples/echo.lua
--
-- Try it: open http://127.0.0.1:8100/ and use "send to the server", or
--
--     wscat -c ws://127.0.0.1:8100/ws
return {
    on_handshake = function()
        return { anonymous = true }
    end,

    on_message = function(_, data)
        return data
    end,
}
