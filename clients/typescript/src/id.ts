// Message ids: the id of an entry in the room's stream, and the only cursor. They are compared here, never made.

/** A stream entry id, `<milliseconds>-<sequence>`, such as `1764000000000-0`. */
export type MessageId = string;

/**
 * Negative when `a` is older than `b`, positive when it is newer, 0 when they are the same. Ids are ordered as two
 * numbers of up to 64 bits, not as text. Source: https://redis.io/docs/latest/develop/data-types/streams/#entry-ids
 */
export function compareIds(a: MessageId, b: MessageId): number {
  const [milliseconds, sequence] = parts(a);
  const [otherMilliseconds, otherSequence] = parts(b);
  return compareDigits(milliseconds, otherMilliseconds) || compareDigits(sequence, otherSequence);
}

/** Whether a text is a message id. */
export function isMessageId(text: unknown): text is MessageId {
  return typeof text === "string" && /^\d{1,20}(-\d{1,20})?$/.test(text);
}

function parts(id: MessageId): [string, string] {
  const dash = id.indexOf("-");
  return dash < 0 ? [id, "0"] : [id.slice(0, dash), id.slice(dash + 1)];
}

/** Compares as text of equal length: a 64-bit number does not fit a JavaScript number. */
function compareDigits(a: string, b: string): number {
  const [left, right] = [stripped(a), stripped(b)];
  if (left.length !== right.length) return left.length - right.length;
  return left < right ? -1 : left > right ? 1 : 0;
}

function stripped(digits: string): string {
  return digits.replace(/^0+(?=\d)/, "");
}
