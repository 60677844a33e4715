/** What an answer has. */
export interface Answer<Value> {
  headers: Headers;
  value: Value;
}

/** A part of a list, as one request returns it. */
export interface Page<Item> {
  /** The elements of this page. */
  readonly items: readonly Item[];
  /** How many there are on all pages together; undefined for error logs. */
  readonly total: number | undefined;
}

/**
 * A list that is read page by page, as it is iterated over.
 *
 * @example
 * ```ts
 * for await (const device of client.devices()) console.log(device.device_id);
 * for await (const page of client.devices().pages()) console.log(page.items.length, page.total);
 * const devices = await client.devices().all();
 * ```
 */
export class Pages<Item> implements AsyncIterable<Item> {
  readonly #read: (query: string) => Promise<Answer<Item[]>>;

  /** @internal */
  constructor(read: (query: string) => Promise<Answer<Item[]>>) {
    this.#read = read;
  }

  /** Iterate over the pages. */
  async *pages(): AsyncGenerator<Page<Item>, void, undefined> {
    for (let query: string | undefined = ""; query !== undefined; ) {
      const { headers, value: items }: Answer<Item[]> = await this.#read(query);
      const total = headers.get("X-Total-Count");
      yield { items, total: total === null ? undefined : Number(total) };
      // The query alone: a proxy may have stripped a path that the link does not know.
      query = /<[^>]*(\?[^>]*)>;[^,]*rel="?next/.exec(headers.get("Link") ?? "")?.[1];
    }
  }

  /** Iterate over the elements of all pages. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Item, void, undefined> {
    for await (const page of this.pages()) yield* page.items;
  }

  /** Read all pages. */
  async all(): Promise<Item[]> {
    const items: Item[] = [];
    for await (const page of this.pages()) items.push(...page.items);
    return items;
  }
}
