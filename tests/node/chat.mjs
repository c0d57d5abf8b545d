// Chat completions: plain, streamed, with structured output, a picture and fields of the gateway's own.
import { all, client, fn, hi, model, print } from "./client.mjs";

const plain = await client.chat.completions.create({
  model: fn("chat"),
  messages: [{ role: "system", content: "be kind" }, ...hi],
  temperature: 0.5,
  "tensorzero::tags": { team: "support" },
});

const chunks = await all(
  await client.chat.completions.create({
    model: fn("chat"),
    messages: hi,
    stream: true,
    stream_options: { include_usage: true },
  }),
);
const runner = client.chat.completions.stream({ model: fn("chat"), messages: hi });

const schema = { type: "object", properties: { answer: { type: "string" } }, required: ["answer"] };
const structured = await client.chat.completions.parse({
  model: model("dummy::json"),
  messages: hi,
  response_format: { type: "json_schema", json_schema: { name: "answer", schema } },
});

const url = `data:image/png;base64,${process.argv[3]}`;
const picture = await client.chat.completions.create({
  model: model("dummy::extract_images"),
  messages: [{ role: "user", content: [{ type: "image_url", image_url: { url, detail: "low" } }] }],
});

print({
  id: plain.id,
  model: plain.model,
  content: plain.choices[0].message.content,
  usage: plain.usage.total_tokens,
  streamed: chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""),
  last: { finish_reason: chunks.at(-1).choices[0].finish_reason, usage: chunks.at(-1).usage.total_tokens },
  put_together: await runner.finalContent(),
  structured: JSON.parse(structured.choices[0].message.content),
  files: JSON.parse(picture.choices[0].message.content),
});
