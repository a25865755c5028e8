<?php
// Publishes to the stream of user 42 from PHP, without a package. With phpredis it is
// $redis->rawCommand('FCALL', 'bellhop_publish', 2, '{notification:42}:log', '{notification:42}:m', $payload, 'ID', $id)
$words = ['FCALL', 'bellhop_publish', '2', '{notification:42}:log', '{notification:42}:m',
    '{"text":"from PHP"}', 'ID', 'order-1-php'];
$request = '*' . count($words) . "\r\n";
foreach ($words as $word) {
    $request .= '$' . strlen($word) . "\r\n$word\r\n";
}

$socket = fsockopen(getenv('REDIS_HOST') ?: '127.0.0.1', (int) (getenv('REDIS_PORT') ?: 6379), $code, $why, 5);
if (!$socket) {
    exit("$why\n");
}
fwrite($socket, $request);
$head = fgets($socket);
if ($head[0] !== '*') {
    fwrite(STDERR, $head);
    exit(1);
}
for ($i = 0; $i < 4; $i++) { // offset, epoch, receivers, known
    echo substr(rtrim(fgets($socket)), 1), "\n";
}
