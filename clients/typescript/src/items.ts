import type { CallOptions } from "@connectrpc/connect";

/** An answer that is one page of a list. */
interface Page {
  readonly nextPageToken: string;
}

/** The fields of a message; `$typeName` and `$unknown` are none. */
type FieldOf<Response> = Exclude<keyof Response, `$${string}`>;

/** What a page lists: the elements of its one repeated field. */
type ItemOf<Response> = {
  [Name in FieldOf<Response>]: Response[Name] extends readonly (infer Item)[] ? Item : never;
}[FieldOf<Response>];

/**
 * Yield everything that a list method lists, page by page, asking for a page only when it is needed.
 *
 *     for await (const match of items(client.matching.listMatches, { userId })) { … }
 *
 * `pageSize` says how many come with one call, `pageToken` where to begin. A deadline in the options is that of each call.
 */
export async function* items<Request extends { pageToken?: string }, Response extends Page>(
  method: (request: Request, options?: CallOptions) => Promise<Response>,
  request: Request,
  options?: CallOptions,
): AsyncGenerator<ItemOf<Response>, void, undefined> {
  let pageToken = request.pageToken ?? "";
  do {
    const page = await method({ ...request, pageToken }, options);
    yield* itemsOf(page);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

function itemsOf<Response extends Page>(page: Response): ItemOf<Response>[] {
  const list = Object.entries(page).find(([name, value]) => !name.startsWith("$") && Array.isArray(value));
  return list?.[1] as ItemOf<Response>[];
}
