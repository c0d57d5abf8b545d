// Tools: a call and its result, parallel calls plain and put together from a stream.
import { client, fn, hi, model, print, tool } from "./client.mjs";

const called = (answer) =>
  answer.choices[0].message.tool_calls.map((call) => [call.id, JSON.parse(call.function.arguments)]);

const made = await client.chat.completions.create({ model: fn("weather"), messages: hi });
const message = made.choices[0].message;
const asked = await client.chat.completions.create({
  model: model("dummy::echo_request_messages"),
  messages: [...hi, message, { role: "tool", tool_call_id: message.tool_calls[0].id, content: "70F" }],
  tools: [tool],
});

const one = { type: "function", function: { name: "add" } };
const chosen = await client.chat.completions.create({
  model: model("parrot"),
  messages: [{ role: "user", content: 'call add {"a": 1}' }],
  tools: [{ ...one, function: { name: "add", parameters: { type: "object" } } }, tool],
  tool_choice: one,
});

const request = { messages: hi, tools: [tool] };
const plain = await client.chat.completions.create({ ...request, model: model("calling") });
const stream = client.chat.completions.stream({ ...request, model: model("calling-streamed") });

print({
  finish_reason: made.choices[0].finish_reason,
  call: called(made)[0][1],
  heard: JSON.parse(asked.choices[0].message.content).messages.at(-1).content[0].result,
  chosen: called(chosen)[0][1],
  plain: called(plain),
  streamed: called(await stream.finalChatCompletion()),
});
