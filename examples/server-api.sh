#!/usr/bin/env bash
# Every example of the server API for channels, through each of its doors:
#
#   HTTP=http://127.0.0.1:8000 GRPC=127.0.0.1:10000 KEY=... \
#     examples/server-api.sh [command] [route] [grpc]
#
# `command` is the older form, POST /api with method and params; `route` is a path
# for each method; `grpc` is gRPC by grpcurl. Without arguments all three are walked,
# gRPC where grpcurl is on PATH. The channels need history and presence:
#
#   {"channel": {"without_namespace":
#     {"presence": true, "history_size": 10, "history_ttl": "300s"}}}
set -euo pipefail

http=${HTTP:-http://127.0.0.1:8000}
grpc=${GRPC:-127.0.0.1:10000}
key=${KEY:?set KEY to the key of the API}
service=centrifugal.centrifugo.api.CentrifugoApi
door=
answer=

say() { printf '\n# %s\n' "$*"; }

# JSON for a field of bytes: as it is over HTTP, in base64 for grpcurl.
bytes() {
  if [ "$door" = grpc ]; then printf '"%s"' "$(printf '%s' "$1" | base64 | tr -d '\n')"; else printf '%s' "$1"; fi
}

# Call a method of the schema: its name there, its name in HTTP, its params.
call() {
  printf '%s %s\n' "$2" "$3"
  case $door in
  command)
    answer=$(curl -sS --header "Authorization: apikey $key" --request POST \
      --data "{\"method\": \"$2\", \"params\": $3}" "$http/api")
    ;;
  route)
    answer=$(curl -sS --header "X-API-Key: $key" --request POST --data "$3" "$http/api/$2")
    ;;
  grpc)
    answer=$(grpcurl -plaintext -H "authorization: apikey $key" -d "$3" "$grpc" "$service/$1" |
      sed -E 's/^ +//; s/^("[^"]*"): /\1:/; s/("offset"):"([0-9]+)"/\1:\2/' | tr -d '\n')
    ;;
  esac
  printf '  %s\n' "$answer"
}

# The last answer fits the pattern.
expect() {
  # shellcheck disable=SC2254
  case $answer in $1) ;; *) printf 'not as expected: %s\n' "$1" >&2; exit 1 ;; esac
}

good() { call "$@" && expect '{"result":*'; }

walk() {
  door=$1
  local epoch hello
  hello=$(bytes '{"text":"hello"}')

  say "$door: publish, with history: a position; without: an empty result."
  good HistoryRemove history_remove '{"channel": "chat"}'
  good Publish publish "{\"channel\": \"chat\", \"data\": $hello}"
  expect '*"offset":*"epoch":*'
  good Publish publish "{\"channel\": \"chat\", \"data\": $hello, \"skip_history\": true, \"tags\": {\"lang\": \"en\"}}"
  expect '{"result":{}}'
  good Publish publish '{"channel": "chat", "b64data": "eyJ0ZXh0IjoiaGVsbG8ifQ=="}'

  say "$door: to a channel whose namespace is unknown."
  call Publish publish "{\"channel\": \"unknown:chat\", \"data\": $hello}"
  expect '{"error":{"code":102,"message":"unknown channel*'

  say "$door: broadcast; one answer for each channel."
  good Broadcast broadcast "{\"channels\": [\"CHANNEL_1\", \"CHANNEL_2\"], \"data\": $hello}"
  expect '*"responses":\[{"result":*},{"result":*}\]*'

  say "$door: history: the position alone, then publications."
  good History history '{"channel": "chat"}'
  good History history '{"channel": "chat", "limit": 2}'
  expect "*\"publications\":*$hello*$hello*"
  epoch=$(printf '%s' "$answer" | sed -E 's/.*"epoch":"([^"]*)".*/\1/')
  good History history "{\"channel\": \"chat\", \"limit\": 1, \"reverse\": true}"
  good History history "{\"channel\": \"chat\", \"limit\": 10, \"since\": {\"offset\": 1, \"epoch\": \"$epoch\"}}"
  call History history '{"channel": "chat", "since": {"offset": 1, "epoch": "another"}}'
  expect '{"error":{"code":112,"message":"unrecoverable position*'

  say "$door: who is in a channel, and in which channels somebody is."
  good Presence presence '{"channel": "chat"}'
  good PresenceStats presence_stats '{"channel": "chat"}'
  good Channels channels '{}'
  good Channels channels '{"pattern": "ch?t*"}'

  say "$door: nodes."
  good Info info '{}'
  expect '*"nodes":\[{"uid":"*'

  say "$door: subscribe, refresh, unsubscribe and disconnect a user's connections."
  good Subscribe subscribe '{"user": "42", "channel": "docs"}'
  good Subscribe subscribe "{\"user\": \"42\", \"channel\": \"goals\", \"info\": $(bytes '{"role":"guest"}'),
    \"data\": $(bytes '{"score":[1,0]}'), \"recover_since\": {\"offset\": 0, \"epoch\": \"$epoch\"},
    \"override\": {\"presence\": {\"value\": true}, \"join_leave\": {\"value\": true},
      \"force_push_join_leave\": {\"value\": true}, \"force_positioning\": {\"value\": true},
      \"force_recovery\": {\"value\": true}}}"
  good Refresh refresh '{"user": "42", "expire_at": 4102444800}'
  good Unsubscribe unsubscribe '{"user": "42", "channel": "docs"}'
  good Disconnect disconnect '{"user": "42", "client": "no-such-client", "session": "no-such-session"}'
  good Disconnect disconnect '{"user": "42", "whitelist": ["no-such-client"], "disconnect": {"code": 4321, "reason": "come back later"}}'

  say "$door: rpc finds no extension in this server."
  call RPC rpc "{\"method\": \"unheard\", \"params\": $(bytes '{}')}"
  expect '{"error":{"code":104,"message":"not found*'

  say "$door: history_remove keeps the position."
  good HistoryRemove history_remove '{"channel": "chat"}'
  good History history '{"channel": "chat", "limit": 10}'
  expect "*\"epoch\":\"$epoch\"*"
}

by_command() {
  say "The key goes in a header, or in the query where there is no other way."
  answer=$(curl -sS -o /dev/null -w '%{http_code}' --data '{"method": "info", "params": {}}' "$http/api")
  expect 401
  answer=$(curl -sS --data '{"method": "info", "params": {}}' "$http/api?api_key=$key")
  expect '{"result":{"nodes":*'
  walk command
  say "Several commands in one request: an answer on each line."
  answer=$(curl -sS --header "Authorization: apikey $key" --request POST \
    --data $'{"method": "publish", "params": {"channel": "test1", "data": {"test": 1}}}\n{"method": "publish", "params": {"channel": "test2", "data": {"test": 2}}}' \
    "$http/api")
  printf '  %s\n' "$answer"
  expect $'{"result":{*}}\n{"result":{*}}'
}

by_route() {
  walk route
  say "Several commands in one request, side by side."
  answer=$(curl -sS --header "X-API-Key: $key" --data '{"parallel": true, "commands": [
    {"publish": {"channel": "test1", "data": {"test": 1}}}, {"presence_stats": {"channel": "test1"}}]}' "$http/api/batch")
  printf '  %s\n' "$answer"
  expect '{"replies":\[{"publish":*},{"presence_stats":*}\]}'
  say "Errors as HTTP statuses, for who asks for it."
  answer=$(curl -sS -w ' %{http_code}' --header "X-API-Key: $key" --header 'X-Centrifugo-Error-Mode: transport' \
    --data '{"channel": "unknown:chat"}' "$http/api/history")
  printf '  %s\n' "$answer"
  expect '{"code":102,"message":"unknown channel*} 404'
}

by_grpc() {
  walk grpc
  say "Any bytes, without base64 on the wire; grpcurl alone wants it."
  good Publish publish '{"channel": "binary", "data": "AP8="}'
  say "Several commands in one request."
  grpcurl -plaintext -H "authorization: apikey $key" -d "{\"commands\": [
    {\"publish\": {\"channel\": \"test1\", \"data\": $(bytes '{"test": 1}')}}, {\"info\": {}}]}" \
    "$grpc" "$service/Batch"
  say "Errors as statuses, for who asks for it."
  if grpcurl -plaintext -H "authorization: apikey $key" -H 'x-centrifugo-error-mode: transport' \
    -d '{"channel": "unknown:chat"}' "$grpc" "$service/History"; then exit 1; fi
}

if [ $# = 0 ]; then
  set -- command route
  if command -v grpcurl >/dev/null 2>&1; then set -- "$@" grpc; fi
fi
for each in "$@"; do
  case $each in
  command) by_command ;;
  route) by_route ;;
  grpc) by_grpc ;;
  *) printf 'no such door: %s\n' "$each" >&2; exit 2 ;;
  esac
done

say "done"
