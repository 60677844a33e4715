/** An error answer: a call was refused, or failed. */
export class PisyncError extends Error {
  override readonly name = "PisyncError";

  constructor(
    /** The HTTP status. */
    readonly status: number,
    message: string,
    /** What is wrong, by field; empty if no field is at fault. */
    readonly errors: { readonly [field: string]: readonly string[] },
    /** What the server calls this request in its log; undefined if a proxy answered. */
    readonly requestId: string | undefined,
    /** Seconds to wait before the next try, for 429 and 503. */
    readonly retryAfter: number | undefined,
  ) {
    super(message);
  }
}

/** Make the error of an answer, which a proxy may have given. */
export async function errorOf(response: Response): Promise<PisyncError> {
  const { status, statusText, headers } = response;
  const body: unknown = await response.json().catch(() => null);
  const known = typeof body === "object" && body && "message" in body ? body : undefined;
  const { message, errors } = (known ?? {}) as Partial<Pick<PisyncError, "message" | "errors">>;
  return new PisyncError(
    status,
    message ?? (statusText || `HTTP status ${status}`),
    errors ?? {},
    headers.get("X-Request-ID") ?? undefined,
    Number.parseFloat(headers.get("Retry-After") ?? "") || undefined,
  );
}
