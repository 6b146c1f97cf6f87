// Does one thing with an unmodified jsforce: reads {"connect": {...}, "action": "...", ...} from standard input, writes the result as JSON.
import jsforce from "@jsforce/jsforce-node";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const asked = JSON.parse(Buffer.concat(chunks).toString("utf8"));

const connection = new jsforce.Connection({ version: "66.0", ...asked.connect });
connection.bulk2.pollInterval = 50;
connection.bulk2.pollTimeout = 60_000;

const actions = {
  async authorize() {
    await connection.authorize({ grant_type: "client_credentials" });
    return { instanceUrl: connection.instanceUrl, limits: Object.keys(await connection.limits()) };
  },
  async load() {
    const { object, operation, externalIdFieldName, records } = asked;
    return connection.bulk2.loadAndWaitForResults({ object, operation, externalIdFieldName, input: records });
  },
  async describe() {
    const described = await connection.describe(asked.object);
    return described.fields.map((field) => field.name);
  },
  async query() {
    return (await connection.query(asked.soql)).records;
  },
  async upsert() {
    return connection.sobject(asked.object).upsert(asked.records, asked.externalIdFieldName, { allOrNone: false });
  },
};

try {
  process.stdout.write(JSON.stringify({ result: await actions[asked.action]() }));
} catch (error) {
  process.stdout.write(JSON.stringify({ error: error.errorCode ?? error.name, message: error.message }));
}
