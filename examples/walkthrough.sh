#!/usr/bin/env bash
# From the first device to the status of a push: every call of the push API, by
# HTTP with curl, and by gRPC where grpcurl is on PATH.
#
#   HTTP=http://127.0.0.1:8000 GRPC=127.0.0.1:10000 KEY=... examples/walkthrough.sh
#
# `tocsin demo --keep` prints such a server's addresses and key.
set -euo pipefail

http=${HTTP:-http://127.0.0.1:8000}
grpc=${GRPC:-127.0.0.1:10000}
key=${KEY:?set KEY to the key of the API}
service=centrifugal.centrifugo.api.CentrifugoApi

say() { printf '\n# %s\n' "$*"; }

# One method a path: the request is the body.
call() {
  local answer
  answer=$(curl -sS -X POST "$http/api/$1" -H "X-API-Key: $key" -d "$2")
  printf '%s %s\n  %s\n' "$1" "$2" "$answer" >&2
  case $answer in *'"error"'*) return 1 ;; esac
  printf '%s' "$answer"
}

# The older form: method and params in one object, several of them on lines.
command_form() {
  local answer
  answer=$(curl -sS -X POST "$http/api" -H "Authorization: apikey $key" -d "$1")
  printf '%s\n  %s\n' "$1" "$answer" >&2
  case $answer in *'"error"'*) return 1 ;; esac
}

field() { sed -E "s/.*\"$1\":\"([^\"]*)\".*/\1/"; }

say "1. The app has a token from its provider's SDK; the back end registers it."
id=$(call device_register '{
  "provider": "fcm", "token": "walkthrough-token", "platform": "android",
  "user": "anna", "topics": ["derby"],
  "tags": {"plan": "gold"}, "meta": {"nick": "Annie"},
  "timezone": "Europe/Nicosia", "locale": "en-GB"
}' | field id)

say "2. The same call again, as at every start of the app: the same device."
test "$id" = "$(call device_register "{\"id\": \"$id\", \"provider\": \"fcm\",
  \"token\": \"walkthrough-token\", \"platform\": \"android\", \"user\": \"anna\",
  \"topics\": [\"derby\"], \"tags\": {\"plan\": \"gold\"}, \"meta\": {\"nick\": \"Annie\"},
  \"timezone\": \"Europe/Nicosia\", \"locale\": \"en-GB\"}" | field id)"

say "3. A user's topics reach all of the user's devices, now and later."
call user_topic_update '{"user": "anna", "op": "add", "topics": ["results"]}' >/dev/null
call user_topic_list '{"users": ["anna"]}' >/dev/null
call device_topic_list "{\"device_ids\": [\"$id\"]}" >/dev/null

say "4. Topics of this device alone."
call device_topic_update "{\"device_id\": \"$id\", \"op\": \"add\", \"topics\": [\"goals\"]}" >/dev/null
call device_topic_update "{\"device_id\": \"$id\", \"op\": \"remove\", \"topics\": [\"goals\"]}" >/dev/null

say "5. What is stored, in the older form; two commands in one request."
command_form "{\"method\": \"device_list\", \"params\": {\"ids\": [\"$id\"], \"include_topics\": true, \"include_tags\": true, \"include_meta\": true}}
{\"method\": \"device_topic_list\", \"params\": {\"topic_prefix\": \"der\", \"limit\": 10}}"

say "6. Send to a topic; the body is the provider's own. The uid makes a retry harmless."
for _ in 1 2; do
  call send_push_notification '{
    "uid": "walkthrough-1",
    "recipient": {"filter": {"topics": ["derby"]}},
    "notification": {
      "expire_at": 4102444800,
      "fcm": {"message": {"notification": {"title": "Hello", "body": "How are you?"}}}
    }
  }' >/dev/null
done

say "7. A text for each device: its data, its language, its time of day."
call send_push_notification '{
  "uid": "walkthrough-2",
  "recipient": {"filter": {"users": ["anna"]}},
  "use_templating": true, "use_meta": true,
  "localizations": {"en": {"translations": {"salute": "Good evening"}}},
  "notification": {"fcm": {"message": {"notification": {
    "title": "{{default [[Hello]] .l10n.salute}}, {{.device.meta.nick}}", "body": "Kick-off"}}}}
}' >/dev/null

say "8. One for later, taken back."
call send_push_notification '{
  "uid": "walkthrough-3", "send_at": 4102444800,
  "recipient": {"fcm_tokens": ["some-raw-token"]},
  "notification": {"fcm": {"message": {"data": {"late": "yes"}}}}
}' >/dev/null
call cancel_push '{"uid": "walkthrough-3"}' >/dev/null

say "9. The app tells that it was delivered, and that somebody tapped it."
call update_push_status "{\"analytics_uid\": \"walkthrough-1\", \"status\": \"delivered\", \"device_id\": \"$id\"}" >/dev/null
call update_push_status "{\"uid\": \"walkthrough-1\", \"status\": \"interacted\", \"device_id\": \"$id\"}" >/dev/null

if command -v grpcurl >/dev/null 2>&1; then
  say "10. The same over gRPC."
  grpcurl -plaintext -H "authorization: apikey $key" "$grpc" list
  grpcurl -plaintext -H "authorization: apikey $key" \
    -d "{\"filter\": {\"ids\": [\"$id\"]}, \"include_topics\": true}" \
    "$grpc" "$service/DeviceList"
  # bytes are base64 here: {"notification":{"title":"Hello"}}
  grpcurl -plaintext -H "authorization: apikey $key" \
    -d '{"recipient": {"filter": {"topics": ["derby"]}}, "notification": {"fcm": {"message": "eyJub3RpZmljYXRpb24iOnsidGl0bGUiOiJIZWxsbyJ9fQ=="}}}' \
    "$grpc" "$service/SendPushNotification"
fi

say "11. Logout: the device stays, its owner and the owner's topics go. Then it is removed."
call device_update "{\"ids\": [\"$id\"], \"user_update\": {\"user\": \"\"}}" >/dev/null
call device_remove "{\"ids\": [\"$id\"]}" >/dev/null
call user_topic_update '{"user": "anna", "op": "set", "topics": []}' >/dev/null

say "done"
