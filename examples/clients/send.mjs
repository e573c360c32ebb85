// Registers a device and sends to its topic, over the HTTP API; Node 18 or newer:
//   node send.mjs http://127.0.0.1:8000 KEY
const [base, key] = process.argv.slice(2);

async function call(method, params) {
  const response = await fetch(`${base}/api/${method}`, {
    method: "POST",
    headers: { "X-API-Key": key, "Content-Type": "application/json" },
    body: JSON.stringify(params),
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const { error, result } = await response.json();
  if (error) throw new Error(`${error.code}: ${error.message}`);
  return result;
}

await call("device_register", {
  provider: "fcm",
  token: "token-from-javascript",
  platform: "web",
  topics: ["snippets"],
});
const { uid } = await call("send_push_notification", {
  recipient: { filter: { topics: ["snippets"] } },
  notification: { fcm: { message: { notification: { title: "Hello from JavaScript" } } } },
});
console.log(uid);
