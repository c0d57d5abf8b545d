// The Responses API: plain, streamed, and a tool's call and result.
import { all, client, fn, hi, model, parameters, print } from "./client.mjs";

const tools = [{ type: "function", name: "get_temperature", parameters, strict: false }];
const plain = await client.responses.create({ model: fn("chat"), input: "hi", instructions: "be kind" });
const events = await all(await client.responses.create({ model: fn("chat"), input: "hi", stream: true }));
const made = await client.responses.create({ model: fn("weather"), input: hi });
const [call] = made.output;
const heard = await client.responses.create({
  model: model("dummy::echo_request_messages"),
  input: [...hi, call, { type: "function_call_output", call_id: call.call_id, output: "70F" }],
  tools,
});
const parallel = client.responses.stream({ model: "calling-streamed", input: "hi", tools });

print({
  text: plain.output_text,
  status: plain.status,
  first: events[0].type,
  streamed: events.at(-1).response.output[0].content[0].text,
  last: events.at(-1).type,
  call: JSON.parse(call.arguments),
  heard: JSON.parse(heard.output_text).messages.at(-1).content[0].result,
  parallel: (await parallel.finalResponse()).output.map((item) => [item.call_id, JSON.parse(item.arguments)]),
});
