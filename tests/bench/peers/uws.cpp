// A gateway written with uWebSockets: echo, publish to topics, users and tenants as topics, publishing by
// HTTP POST. build.sh builds it if UWEBSOCKETS names the source of uWebSockets.
//
//     uws PORT
#include "App.h"

#include <cstdlib>
#include <iostream>
#include <string>

namespace {

struct Client {
    std::string user, tenant, topic; // names of its topics; empty: none
};

std::string name(const char *kind, std::string_view id) {
    return id.empty() ? std::string() : std::string(kind).append(id);
}

void upgrade(uWS::HttpResponse<false> *response, uWS::HttpRequest *request,
             struct us_socket_context_t *context) {
    response->template upgrade<Client>(
        {name("user/", request->getQuery("user")), name("tenant/", request->getQuery("tenant")),
         name("topic/", request->getQuery("topic"))},
        request->getHeader("sec-websocket-key"), request->getHeader("sec-websocket-protocol"),
        request->getHeader("sec-websocket-extensions"), context);
}

void join(uWS::WebSocket<false, true, Client> *socket) {
    const Client *client = socket->getUserData();
    for (const std::string *topic : {&client->user, &client->tenant, &client->topic})
        if (!topic->empty())
            socket->subscribe(*topic);
}

} // namespace

int main(int argc, char **argv) {
    const int port = argc > 1 ? std::atoi(argv[1]) : 0;
    uWS::App app;
    app.ws<Client>("/ws", {.compression = uWS::DISABLED,
                           .maxPayloadLength = 16 * 1024 * 1024,
                           .idleTimeout = 120,
                           .maxBackpressure = 4 * 1024 * 1024,
                           .upgrade = upgrade,
                           .open = join,
                           .message =
                               [](auto *socket, std::string_view message, uWS::OpCode opcode) {
                                   socket->send(message, opcode, false);
                               }});
    app.post("/topics/:id", [&app](auto *response, auto *request) {
        std::string topic = name("topic/", request->getParameter(0));
        response->onAborted([] {});
        response->onData([&app, response, topic, body = std::string()](std::string_view part,
                                                                        bool last) mutable {
            body.append(part);
            if (!last)
                return;
            app.publish(topic, body, uWS::OpCode::TEXT, false);
            response->end("{}");
        });
    });
    app.listen("127.0.0.1", port, [](auto *socket) {
        if (!socket)
            std::exit(1);
        std::cout << "ready" << std::endl;
    });
    app.run();
}
