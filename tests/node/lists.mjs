// Embeddings in every form, and the list of models.
import { all, client, fn, print } from "./client.mjs";

const model = "tensorzero::embedding_model_name::vectors";
const usual = await client.embeddings.create({ model, input: "a" });
const floats = await client.embeddings.create({ model, input: ["a", "b"], encoding_format: "float" });
const packed = await client.embeddings.create({ model, input: "a", encoding_format: "base64" });
const bytes = Buffer.from(packed.data[0].embedding, "base64");

print({
  usual: usual.data[0].embedding,
  floats: floats.data.map((item) => item.embedding),
  packed: Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readFloatLE(4 * at)),
  models: (await all(client.models.list())).map((each) => each.id),
  retrieved: (await client.models.retrieve(fn("chat"))).id,
});
