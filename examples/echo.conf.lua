-- The configuration of examples/echo.lua as a target of conformance tests, such as the Autobahn test suite.
--
-- What it shows
--   * Messages of up to 16 MiB: those tests send them, a notifier needs none of that size.
--   * No heartbeat, whose pings would mix with the expected frames, and no limits of the rate: those tests send
--     faster than a decent client.
--
-- Run it, in the project's folder:
--
--     bellhop serve -c examples/echo.conf.lua
--
-- Try it:
--
--     wscat -c ws://127.0.0.1:8109/ws
local MiB = 1024 * 1024

return {
    server = { listen = { "127.0.0.1:8109" } },
    websocket = {
        message_bytes = 16 * MiB,
        ping_interval = 3600,
        messages_per_second = 0,
        bytes_per_second = 0,
        control_per_second = 0,
    },
    script = { files = { "examples/echo.lua" } },
}
