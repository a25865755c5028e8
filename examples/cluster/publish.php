<?php
// Publishes on a Redis Cluster from PHP, without a package: to the topic `news`, which has no history (prints how many
// instances are subscribed), and to the stream of user 42 (prints offset, epoch, receivers, known). With phpredis:
// $cluster = new RedisCluster(null, ['127.0.0.1:7000']);
// $cluster->rawCommand($channel, 'SPUBLISH', $channel, $payload);
// $cluster->rawCommand($log, 'FCALL', 'bellhop_publish', 2, $log, $m, $payload, 'ID', $id);
// With Predis, which has to be told where the keys are (SPUBLISH: only before version 3):
// $cluster = new Predis\Client(['tcp://127.0.0.1:7000'], ['cluster' => 'redis']);
// $strategy = $cluster->getConnection()->getClusterStrategy();
// $strategy->setCommandHandler('SPUBLISH', fn($command) => $command->getArgument(0));
// $strategy->setCommandHandler('FCALL', fn($command) => $command->getArgument(2));
// $cluster->executeRaw(['SPUBLISH', $channel, $payload]);
// $cluster->executeRaw(['FCALL', 'bellhop_publish', 2, $log, $m, $payload, 'ID', $id]);
$payload = '{"text":"from PHP"}';

function encode(array $words): string
{
    $text = '*' . count($words) . "\r\n";
    foreach ($words as $word) {
        $text .= '$' . strlen($word) . "\r\n$word\r\n";
    }
    return $text;
}

// The lines of a reply; a list is a line that begins with *, and a line for each element.
function read_reply($socket): array
{
    $lines = [];
    for ($left = 1; $left > 0; $left--) {
        $line = rtrim(fgets($socket));
        $left += $line[0] === '*' ? (int) substr($line, 1) : 0;
        $lines[] = $line;
    }
    return $lines;
}

function ask(string $host, int $port, array $commands): array
{
    $socket = fsockopen($host, $port, $code, $why, 5);
    if (!$socket) {
        exit("$why\n");
    }
    fwrite($socket, implode('', array_map('encode', $commands)));
    foreach ($commands as $command) {
        $lines = read_reply($socket);
    }
    return $lines;
}

// Any server says which one has the slot of the key or channel.
function call(string ...$words): void
{
    $host = getenv('REDIS_HOST') ?: '127.0.0.1';
    $port = (int) (getenv('REDIS_PORT') ?: 7000);
    $before = [];
    for ($i = 0; $i < 5; $i++) {
        $lines = ask($host, $port, [...$before, $words]);
        if (!preg_match('/^-(MOVED|ASK) \d+ (.*):(\d+)$/', $lines[0], $moved)) {
            break;
        }
        $host = $moved[2] ?: $host;
        $port = (int) $moved[3];
        $before = $moved[1] === 'ASK' ? [['ASKING']] : [];
    }
    if ($lines[0][0] === '-') {
        fwrite(STDERR, $lines[0] . "\n");
        exit(1);
    }
    foreach ($lines as $line) {
        if ($line[0] !== '*') {
            echo substr($line, 1), "\n";
        }
    }
}

call('SPUBLISH', 'notification:topic:news', $payload);
call('FCALL', 'bellhop_publish', '2', '{notification:42}:log', '{notification:42}:m', $payload, 'ID', 'order-1-php');
