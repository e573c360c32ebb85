"use strict";

const LINES_KEPT = 200;
const element = (id) => document.getElementById(id);
let settings = null;
let client = null;
let subscription = null;

// Everything goes in as text: what others publish must never become part of the page.
function note(kind, about) {
  const line = document.createElement("li");
  line.className = kind;
  for (const [tag, text] of [
    ["time", new Date().toTimeString().slice(0, 8)],
    ["b", kind],
    ["span", about],
  ]) {
    line.appendChild(document.createElement(tag)).textContent = text;
  }
  element("log").prepend(line);
  while (element("log").childElementCount > LINES_KEPT) {
    element("log").lastElementChild.remove();
  }
}

function show(id, state) {
  element(id).textContent = state;
  element(id).dataset.state = state;
}

function noteEnd(kind, { code, reason }) {
  note(kind, `${code} ${reason}`);
}

function hintAtOrigins() {
  note("hint", `does client.allowed_origins let in ${location.origin}?`);
}

function disconnect() {
  if (client !== null) {
    client.disconnect();
  }
  client = null;
  subscription = null;
  show("subscription", "unsubscribed");
}

function connect(event) {
  event.preventDefault();
  disconnect();
  const transport = element("transport").value;
  const token = element("token").value.trim();
  const address = new URL(settings.transports[transport], location.href);
  const options = { token };
  if (transport === "websocket") {
    address.protocol = address.protocol.replace("http", "ws");
  } else {
    options.emulationEndpoint = new URL(settings.emulation, location.href).href;
  }
  const made = new Centrifuge([{ transport, endpoint: address.href }], options);
  let isUnheard = true;
  made.on("state", ({ newState }) => show("state", newState));
  made.on("connecting", (context) => noteEnd("connecting", context));
  made.on("connected", (context) => {
    isUnheard = false;
    note("connected", `as ${context.client}, ${context.transport}`);
  });
  made.on("disconnected", (context) => {
    noteEnd("disconnected", context);
    if (context.code === 3501 && token === "") {
      note("hint", "a token is needed, unless client.allow_anonymous_connect_without_token is on");
    }
  });
  made.on("error", ({ type, error }) => {
    note("error", `${type}: ${error.code} ${error.message}`);
    if (isUnheard && type === "transport") {
      isUnheard = false;
      hintAtOrigins();
    }
  });
  // What the server subscribes this client to, by token or API.
  made.on("subscribed", ({ channel }) => note("subscribed", `by the server to ${channel}`));
  made.on("unsubscribed", ({ channel }) => note("unsubscribed", `by the server from ${channel}`));
  made.on("publication", ({ channel, data }) => note("publication", `${channel} ${JSON.stringify(data)}`));
  client = made;
  made.connect();
}

function subscribe(event) {
  event.preventDefault();
  if (client === null) {
    note("hint", "connect first");
    return;
  }
  if (subscription !== null) {
    client.removeSubscription(subscription);
  }
  const channel = element("channel").value;
  const made = client.newSubscription(channel);
  made.on("state", ({ newState }) => show("subscription", newState));
  made.on("subscribing", (context) => noteEnd("subscribing", context));
  made.on("subscribed", () => note("subscribed", `to ${channel}`));
  made.on("unsubscribed", (context) => noteEnd("unsubscribed", context));
  made.on("publication", ({ data }) => note("publication", JSON.stringify(data)));
  made.on("error", ({ type, error }) => note("error", `${type}: ${error.code} ${error.message}`));
  subscription = made;
  made.subscribe();
}

function unsubscribe() {
  if (subscription !== null) {
    subscription.unsubscribe();
  }
}

function readMessage() {
  try {
    return JSON.parse(element("message").value);
  } catch (error) {
    note("error", `not JSON: ${error.message}`);
    return undefined;
  }
}

async function publish(event) {
  event.preventDefault();
  if (client === null) {
    note("hint", "connect first");
    return;
  }
  const message = readMessage();
  if (message === undefined) {
    return;
  }
  try {
    await client.publish(element("channel").value, message);
    note("published", `to ${element("channel").value}`);
  } catch (error) {
    note("error", `not published: ${error.code} ${error.message}`);
  }
}

async function start() {
  settings = await (await fetch("settings.json")).json();
  for (const name of Object.keys(settings.transports)) {
    element("transport").append(new Option(name));
  }
  element("connecting").addEventListener("submit", connect);
  element("disconnect").addEventListener("click", disconnect);
  element("subscribing").addEventListener("submit", subscribe);
  element("unsubscribe").addEventListener("click", unsubscribe);
  element("publishing").addEventListener("submit", publish);
  element("clear").addEventListener("click", () => element("log").replaceChildren());
  note("ready", "connect, subscribe, publish");
}

start();
