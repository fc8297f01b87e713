// Listeners by event name. It does not know what the events mean.

export type Listener<Data> = (data: Data) => void;

/** Typed listeners. A listener that throws disturbs neither the others nor the session; its error is reported globally. */
export class Emitter<Table> {
  readonly #listeners = new Map<keyof Table, Set<Listener<never>>>();

  /** Calls `listener` for every such event; the returned function, or `signal`, ends that. */
  on<Name extends keyof Table>(name: Name, listener: Listener<Table[Name]>, options?: { signal?: AbortSignal }): () => void {
    const own: Listener<Table[Name]> = (data) => listener(data);
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set.add(own));
    const off = () => void set.delete(own);
    if (options?.signal?.aborted) off();
    options?.signal?.addEventListener("abort", off, { once: true });
    return off;
  }

  /** The next such event. */
  once<Name extends keyof Table>(name: Name): Promise<Table[Name]> {
    return new Promise((resolve) => {
      const off = this.on(name, (data) => {
        off();
        resolve(data);
      });
    });
  }

  protected emit<Name extends keyof Table>(name: Name, data: Table[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        (listener as Listener<Table[Name]>)(data);
      } catch (error) {
        report(error);
      }
    }
  }
}

function report(error: unknown): void {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else {
    queueMicrotask(() => {
      throw error;
    });
  }
}
