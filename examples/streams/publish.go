// Publishes to the stream of user 42 from Go, without a package: go run publish.go. With go-redis it is
// client.FCall(ctx, "bellhop_publish", []string{"{notification:42}:log", "{notification:42}:m"}, payload, "ID", id)
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
)

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func main() {
	words := []string{"FCALL", "bellhop_publish", "2", "{notification:42}:log", "{notification:42}:m",
		`{"text":"from Go"}`, "ID", "order-1-go"}
	request := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		request += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}

	connection, err := net.Dial("tcp", net.JoinHostPort(env("REDIS_HOST", "127.0.0.1"), env("REDIS_PORT", "6379")))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprint(connection, request)
	reply := bufio.NewReader(connection)
	for i := 0; i < 5; i++ { // how many, then offset, epoch, receivers, known
		line, err := reply.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "-") {
			log.Fatal(line, err)
		}
		if i > 0 {
			fmt.Println(strings.TrimSpace(line[1:]))
		}
	}
}
