// Runs the official JavaScript SDK for tests that are written in Python.
//
// Each TCP connection is a session of its own: lines of JSON in and out. A request
// names what to do and is answered under its id; what the SDK tells meanwhile goes out
// as events. When the connection ends, so do the clients that were made over it.

import net from "node:net";
import { Centrifuge as JsonClient } from "centrifuge";
import { Centrifuge as ProtobufClient } from "centrifuge/build/protobuf";
import { EventSource } from "eventsource";
import WebSocket from "ws";

const CLIENT_EVENTS = [
  "connecting", "connected", "disconnected", "message", "error", "subscribed",
  "subscribing", "unsubscribed", "publication", "join", "leave",
];
const SUBSCRIPTION_EVENTS = [
  "subscribing", "subscribed", "unsubscribed", "publication", "join", "leave", "error",
];

// Payloads are bytes in Protobuf: JSON in them is shown as what it says.
function readBytes(bytes) {
  const buffer = Buffer.from(bytes);
  try {
    return JSON.parse(buffer.toString("utf8"));
  } catch {
    return { base64: buffer.toString("base64") };
  }
}

function plain(value) {
  if (value instanceof Uint8Array) return readBytes(value);
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (value instanceof Error) return { code: value.code, message: value.message };
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]));
  }
  return value;
}

class Session {
  constructor(socket) {
    this.socket = socket;
    this.clients = new Map();
    this.subscriptions = new Map();
  }

  tell(message) {
    if (this.socket.writable) this.socket.write(JSON.stringify(message) + "\n");
  }

  watch(emitter, names, of) {
    for (const name of names) {
      emitter.on(name, (context) => this.tell({ of, event: name, context: plain(context) }));
    }
  }

  // A getToken that gives these one after the other, the last one for ever.
  tokens(list, of) {
    let next = 0;
    return async () => {
      this.tell({ of, event: "getToken", context: {} });
      return list[Math.min(next++, list.length - 1)];
    };
  }

  client({ of, protocol, endpoints, tokens, options }) {
    const made = { ...options, websocket: WebSocket, eventsource: EventSource };
    if (tokens) made.getToken = this.tokens(tokens, of);
    const Client = protocol === "protobuf" ? ProtobufClient : JsonClient;
    const client = new Client(endpoints, made);
    client.isProtobuf = protocol === "protobuf";
    this.watch(client, CLIENT_EVENTS, of);
    this.clients.set(of, client);
  }

  subscription({ of, client, channel, tokens, options }) {
    const made = { ...options };
    if (tokens) made.getToken = this.tokens(tokens, of);
    const owner = this.clients.get(client);
    const subscription = owner.newSubscription(channel, made);
    subscription.isProtobuf = owner.isProtobuf;
    this.watch(subscription, SUBSCRIPTION_EVENTS, of);
    this.subscriptions.set(of, subscription);
  }

  // Any method of a client or subscription; `data` is its last argument, if it has any.
  async call({ of, method, args, data }) {
    const target = this.clients.get(of) ?? this.subscriptions.get(of);
    const all = [...(args ?? [])];
    if (data !== undefined) {
      all.push(target.isProtobuf ? new TextEncoder().encode(JSON.stringify(data)) : data);
    }
    return plain(await target[method](...all));
  }

  state({ of }) {
    return (this.clients.get(of) ?? this.subscriptions.get(of)).state;
  }

  async take(line) {
    const { id, does, ...request } = JSON.parse(line);
    try {
      this.tell({ id, result: (await this[does](request)) ?? null });
    } catch (error) {
      this.tell({ id, error: { code: error.code ?? 0, message: String(error.message) } });
    }
  }

  end() {
    for (const client of this.clients.values()) client.disconnect();
  }
}

const server = net.createServer((socket) => {
  const session = new Session(socket);
  socket.setNoDelay(true);
  let rest = "";
  socket.setEncoding("utf8");
  socket.on("data", (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) session.take(line);
  });
  socket.on("error", () => {});
  socket.on("close", () => session.end());
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
