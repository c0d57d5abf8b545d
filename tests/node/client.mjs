// The official client against the gateway whose address is the script's first argument; what a script found is printed.
import OpenAI from "openai";

export const client = new OpenAI({
  baseURL: `${process.argv[2]}/openai/v1`,
  apiKey: "none needed",
  maxRetries: 0,
});

export const hi = [{ role: "user", content: "hi" }];
export const model = (name) => `tensorzero::model_name::${name}`;
export const fn = (name) => `tensorzero::function_name::${name}`;

export const parameters = {
  type: "object",
  properties: { location: { type: "string" }, units: { type: "string" } },
};
export const tool = { type: "function", function: { name: "get_temperature", parameters } };

export async function all(stream) {
  const found = [];
  for await (const each of stream) found.push(each);
  return found;
}

// The class and the status of the error that this ends with.
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return { name: error.constructor.name, status: error.status ?? null, message: error.message };
  }
  throw new Error("nothing failed");
}

export function print(found) {
  process.stdout.write(JSON.stringify(found));
}
