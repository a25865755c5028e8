// Publishes on a Redis Cluster from Go, without a package: to the topic `news`, which has no history (prints how many
// instances are subscribed), and to the stream of user 42 (prints offset, epoch, receivers, known): go run publish.go.
// With go-redis:
// cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:7000"}})
// cluster.SPublish(ctx, "notification:topic:news", payload)
// cluster.FCall(ctx, "bellhop_publish", []string{"{notification:42}:log", "{notification:42}:m"}, payload, "ID", id)
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
)

const payload = `{"text":"from Go"}`

var redirection = regexp.MustCompile(`^-(MOVED|ASK) \d+ (.*):(\d+)$`)

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func encode(words []string) string {
	text := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	return text
}

// The lines of a reply; a list is a line that begins with *, and a line for each element.
func read(reply *bufio.Reader) []string {
	var lines []string
	for left := 1; left > 0; left-- {
		line, err := reply.ReadString('\n')
		if err != nil {
			log.Fatal(err)
		}
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "*") {
			count, _ := strconv.Atoi(line[1:])
			left += count
		}
		lines = append(lines, line)
	}
	return lines
}

func ask(host, port string, asking bool, words []string) []string {
	connection, err := net.Dial("tcp", net.JoinHostPort(host, port))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	reply := bufio.NewReader(connection)
	if asking {
		fmt.Fprint(connection, encode([]string{"ASKING"}))
		read(reply)
	}
	fmt.Fprint(connection, encode(words))
	return read(reply)
}

// Any server says which one has the slot of the key or channel.
func call(words ...string) {
	host, port, asking := env("REDIS_HOST", "127.0.0.1"), env("REDIS_PORT", "7000"), false
	var lines []string
	for i := 0; i < 5; i++ {
		lines = ask(host, port, asking, words)
		moved := redirection.FindStringSubmatch(lines[0])
		if moved == nil {
			break
		}
		if moved[2] != "" {
			host = moved[2]
		}
		port, asking = moved[3], moved[1] == "ASK"
	}
	if strings.HasPrefix(lines[0], "-") {
		log.Fatal(lines[0])
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "*") {
			fmt.Println(line[1:])
		}
	}
}

func main() {
	call("SPUBLISH", "notification:topic:news", payload)
	call("FCALL", "bellhop_publish", "2", "{notification:42}:log", "{notification:42}:m", payload, "ID", "order-1-go")
}
