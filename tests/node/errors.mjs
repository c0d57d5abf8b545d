// Errors are the client's own classes, before a stream and within one.
import { all, client, failure, fn, hi, model, print } from "./client.mjs";

const chat = (change) => client.chat.completions.create({ model: fn("chat"), messages: hi, ...change });

print({
  not_ours: await failure(chat({ model: "gpt-4o" })),
  unknown: await failure(chat({ model: fn("nope") })),
  failed: await failure(chat({ model: model("dummy::error") })),
  failed_stream: await failure(chat({ model: model("dummy::error"), stream: true })),
  within: await failure(chat({ model: model("dummy::err_in_stream"), stream: true }).then(all)),
  embeddings: await failure(
    client.embeddings.create({ model: "tensorzero::embedding_model_name::nope", input: "a" }),
  ),
  responses: await failure(client.responses.create({ model: fn("nope"), input: "hi" })),
});
