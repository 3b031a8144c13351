// A program on OpenAI's library for Node; `tests/server/node_programs.py` starts it, and nothing in it is ours.
//
// It uploads files in each of the library's ways, asks about them, prints the answer with footnotes and what it has
// seen meanwhile, and deletes what it has made.

import OpenAI, { NotFoundError, toFile } from 'openai';

const client = new OpenAI(); // where the server is comes from the environment
const polling = { pollIntervalMs: 20 };
const text = (name, content) => toFile(Buffer.from(content), name, { type: 'text/plain' });

async function all(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}

async function refusal(request) {
  try {
    await request();
  } catch (error) {
    if (!(error instanceof NotFoundError)) throw error;
    return [error.status, error.type, error.message];
  }
}

// Files, in a vector store: twenty in a batch, and one by itself.
const shelf = (number) => text(`shelf-${number}.txt`, `Shelf ${number} has ${number * 7} books.`);
const store = await client.vectorStores.create({ name: 'Manuals' });
const files = await Promise.all(Array.from({ length: 20 }, (_, number) => shelf(number)));
const batch = await client.vectorStores.fileBatches.uploadAndPoll(store.id, { files }, polling);
const kettle = await client.vectorStores.files.uploadAndPoll(
  store.id,
  await text('kettle.txt', 'The kettle holds 1.7 litres of water.'),
  polling,
);
const canteen = await client.files.create({
  file: await text('canteen.txt', 'The canteen opens at half past eleven.'),
  purpose: 'assistants',
});
const content = await (await client.files.content(canteen.id)).text();
const found = await client.vectorStores.search(store.id, { query: 'How many books are on shelf 7?' });

// A run that is streamed, with what its events tell.
const assistant = await client.beta.assistants.create({
  name: 'Librarian',
  model: 'gpt-4o',
  tools: [{ type: 'file_search' }],
  tool_resources: { file_search: { vector_store_ids: [store.id] } },
});
const thread = await client.beta.threads.create({ metadata: { from: 'node' } });

async function ask(question, attachments = []) {
  await client.beta.threads.messages.create(thread.id, { role: 'user', content: question, attachments });
  const seen = { deltas: [], calls: [], events: new Set() };
  const stream = client.beta.threads.runs
    .stream(thread.id, { assistant_id: assistant.id })
    .on('textDelta', (delta) => seen.deltas.push(delta.value ?? ''))
    .on('toolCallCreated', (call) => seen.calls.push(call.type))
    .on('event', (event) => seen.events.add(event.event));
  const [message] = await stream.finalMessages();
  const run = await stream.finalRun();
  const answer = message.content[0].text;
  const footnotes = [];
  for (const [index, annotation] of answer.annotations.entries()) {
    answer.value = answer.value.replace(annotation.text, `[${index}]`);
    const cited = await client.files.retrieve(annotation.file_citation.file_id);
    footnotes.push(`[${index}] ${cited.filename}`);
  }
  return {
    answer: [answer.value, ...footnotes],
    streamed: seen.deltas.length > 1,
    calls: seen.calls,
    events: [...seen.events],
    status: run.status,
  };
}

const fromStore = await ask('How many litres of water does the kettle hold?');
const fromAttachment = await ask('When does the canteen open?', [
  { file_id: canteen.id, tools: [{ type: 'file_search' }] },
]);
const polled = await client.beta.threads.runs.createAndPoll(thread.id, { assistant_id: assistant.id }, polling);

// Lists that page by themselves.
const inStore = await all(client.vectorStores.files.list(store.id, { limit: 4 }));
const messages = await all(client.beta.threads.messages.list(thread.id, { limit: 2, order: 'asc' }));
const uploaded = await all(client.files.list({ limit: 5 }));
const steps = await all(client.beta.threads.runs.steps.list(polled.id, { thread_id: thread.id, limit: 1 }));

// All of it is deleted.
const deleted = [];
for (const file of uploaded) deleted.push((await client.files.delete(file.id)).deleted);
await client.vectorStores.delete(store.id);
await client.beta.assistants.delete(assistant.id);
await client.beta.threads.delete(thread.id);

process.stdout.write(
  JSON.stringify({
    batch: [batch.status, batch.file_counts.completed],
    kettle: kettle.status,
    content,
    found: found.data[0].filename,
    fromStore,
    fromAttachment,
    polled: polled.status,
    inStore: new Set(inStore.map((file) => file.id)).size,
    messages: messages.map((message) => message.role),
    uploaded: uploaded.length,
    steps: steps.map((step) => step.type).sort(),
    deleted: deleted.filter(Boolean).length,
    left: (await all(client.files.list())).length,
    refusal: await refusal(() => client.vectorStores.retrieve(store.id)),
  }),
);
