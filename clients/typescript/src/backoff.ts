// Full-jitter exponential backoff. It does not know what is being retried.

/**
 * Delays drawn uniformly from zero to a ceiling that doubles with each failure ("full jitter").
 * Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export interface Backoff {
  /** The ceiling of the first delay, in milliseconds. */
  readonly baseMs: number;
  /** The ceiling that is never passed, in milliseconds. */
  readonly maxMs: number;
}

/** The longest delay after so many failures in a row (the first retry has none behind it). */
export function ceilingMs(backoff: Backoff, failures: number): number {
  return Math.min(backoff.baseMs * 2 ** Math.min(failures, 50), backoff.maxMs);
}

/** A delay, by a number of chance from 0 (included) to 1 (excluded). */
export function delayMs(backoff: Backoff, failures: number, chance: number): number {
  return Math.floor(ceilingMs(backoff, failures) * chance);
}
