// Lists everything, carries a plan out (see client.py) and says what came back.
export async function carryOut(client, plan) {
  const every = async (list, items) => {
    const found = [];
    let cursor;
    do {
      const page = await list(cursor === undefined ? {} : { cursor });
      found.push(...page[items]);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    return found;
  };
  const has = client.getServerCapabilities() ?? {};
  const results = [], read = [], prompted = [];
  // First: before the session's own connection has answered, lists are those that all see.
  for (const [name, args] of plan.calls ?? []) results.push(await client.callTool({ name, arguments: args }));
  const tools = await every(page => client.listTools(page), 'tools');
  const resources = has.resources ? await every(page => client.listResources(page), 'resources') : [];
  const prompts = has.prompts ? await every(page => client.listPrompts(page), 'prompts') : [];
  for (const uri of plan.reads ?? []) read.push(await client.readResource({ uri }));
  for (const [name, args] of plan.prompts ?? []) prompted.push(await client.getPrompt({ name, arguments: args }));
  return { server: client.getServerVersion()?.name ?? null, tools: tools.map(tool => tool.name), resources: resources.length,
    prompts: prompts.length, results, read, prompted };
}
