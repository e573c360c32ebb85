"use strict";

const element = (id) => document.getElementById(id);
let client = null;
let subscription = null;

function note(what, about) {
  const line = document.createElement("li");
  line.textContent = about === undefined ? what : `${what} ${JSON.stringify(about)}`;
  element("log").prepend(line);
}

function showState(context) {
  element("state").textContent = client === null ? "disconnected" : client.state;
  if (context && context.code !== undefined) {
    note("connection:", { code: context.code, reason: context.reason });
  }
}

function showSubscription(context) {
  element("subscription").textContent = subscription.state;
  if (context && context.code !== undefined) {
    note("subscription:", { code: context.code, reason: context.reason });
  }
}

function disconnect() {
  if (client !== null) {
    client.disconnect();
  }
  client = null;
  subscription = null;
  element("subscription").textContent = "unsubscribed";
}

async function connect(event) {
  event.preventDefault();
  disconnect();
  const settings = await (await fetch("settings.json")).json();
  const transport = element("transport").value;
  const address = new URL(settings.transports[transport], location.href);
  const options = { token: element("token").value };
  if (transport === "websocket") {
    address.protocol = address.protocol.replace("http", "ws");
  } else {
    options.emulationEndpoint = new URL(settings.emulation, location.href).href;
  }
  client = new Centrifuge([{ transport, endpoint: address.href }], options);
  client.on("connecting", showState);
  client.on("connected", (context) => {
    showState();
    note("connected as", { client: context.client, transport: context.transport });
  });
  client.on("disconnected", showState);
  client.on("error", (context) => note("error:", context.error));
  client.connect();
}

function subscribe(event) {
  event.preventDefault();
  if (client === null) {
    note("connect first");
    return;
  }
  if (subscription !== null) {
    client.removeSubscription(subscription);
  }
  subscription = client.newSubscription(element("channel").value);
  subscription.on("subscribing", showSubscription);
  subscription.on("subscribed", (context) => {
    showSubscription();
    note(`subscribed to ${context.channel}`);
  });
  subscription.on("unsubscribed", showSubscription);
  subscription.on("publication", (context) => note("publication:", context.data));
  subscription.on("error", (context) => note("error:", context.error));
  subscription.subscribe();
}

async function publish(event) {
  event.preventDefault();
  if (client === null) {
    note("connect first");
    return;
  }
  try {
    await client.publish(element("channel").value, JSON.parse(element("message").value));
    note("published");
  } catch (error) {
    note("not published:", { code: error.code, message: error.message });
  }
}

async function start() {
  const settings = await (await fetch("settings.json")).json();
  for (const name of Object.keys(settings.transports)) {
    element("transport").append(new Option(name));
  }
  element("connecting").addEventListener("submit", connect);
  element("disconnect").addEventListener("click", disconnect);
  element("subscribing").addEventListener("submit", subscribe);
  element("publishing").addEventListener("submit", publish);
  note("ready");
}

start();
