// @vercel/cosmosdb-server over TLS with the certificate that is given, and a list of scripted answers before it.
// Prints its port in one line. POST /_script takes one fault: {method, url (a part of it), status, headers, times} or {…, lost: true} for an
// answer that never arrives although the server did what it was asked. GET /_script tells how many are left, and what was asked.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { createHttpsServer } = createRequire(import.meta.url)("@vercel/cosmosdb-server");
const [cert, key] = process.argv.slice(2).map((path) => readFileSync(path));
const server = createHttpsServer({ cert, key, minVersion: "TLSv1.2" });
const [handle] = server.listeners("request");
let faults = [];
let asked = [];

function scripted(request) {
  const fault = faults.find((one) => one.method === request.method && request.url.includes(one.url));
  if (fault && --fault.times <= 0) faults = faults.filter((one) => one !== fault);
  return fault;
}

async function script(request, response) {
  if (request.method === "POST") {
    let text = "";
    for await (const piece of request) text += piece;
    faults.push({ times: 1, ...JSON.parse(text) });
  }
  if (request.method === "DELETE") [faults, asked] = [[], []];
  response.end(JSON.stringify({ left: faults.length, asked }));
}

server.removeAllListeners("request");
server.on("request", (request, response) => {
  if (request.url === "/_script") return void script(request, response);
  asked.push(`${request.method} ${request.url}`);
  const fault = scripted(request);
  if (fault && !fault.lost) {
    request.resume();
    response.writeHead(fault.status, { "content-type": "application/json", ...fault.headers });
    return void response.end(JSON.stringify({ code: String(fault.status), message: "Scripted." }));
  }
  if (fault) response.end = () => request.socket.destroy();
  handle(request, response);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
