// @wscluster/client for browsers in one file. Generated from clients/typescript by `npm run bundle`.

// src/backoff.ts
function ceilingMs(backoff, failures) {
  return Math.min(backoff.baseMs * 2 ** Math.min(failures, 50), backoff.maxMs);
}
function delayMs(backoff, failures, chance) {
  return Math.floor(ceilingMs(backoff, failures) * chance);
}

// src/id.ts
function compareIds(a, b) {
  const [milliseconds, sequence] = parts(a);
  const [otherMilliseconds, otherSequence] = parts(b);
  return compareDigits(milliseconds, otherMilliseconds) || compareDigits(sequence, otherSequence);
}
function isMessageId(text) {
  return typeof text === "string" && /^\d{1,20}(-\d{1,20})?$/.test(text);
}
function parts(id) {
  const dash = id.indexOf("-");
  return dash < 0 ? [id, "0"] : [id.slice(0, dash), id.slice(dash + 1)];
}
function compareDigits(a, b) {
  const [left, right] = [stripped(a), stripped(b)];
  if (left.length !== right.length) return left.length - right.length;
  return left < right ? -1 : left > right ? 1 : 0;
}
function stripped(digits) {
  return digits.replace(/^0+(?=\d)/, "");
}

// src/frame.ts
var SUBPROTOCOL = "wscluster.v1.json";
function readFrame(text) {
  let frame;
  try {
    frame = JSON.parse(text);
  } catch {
    return void 0;
  }
  if (typeof frame !== "object" || frame === null || typeof frame.type !== "string") return void 0;
  const ids = [frame.id, frame.position].every((id) => id === void 0 || isMessageId(id));
  return ids ? frame : void 0;
}
function writeBody(frame) {
  return JSON.stringify(frame).slice(0, -1);
}
function withRef(body, ref) {
  return `${body},"ref":${ref}}`;
}

// src/core/link.ts
function newLink(id, now) {
  return {
    id,
    startedAt: now,
    node: void 0,
    session: "",
    heartbeatMs: 0,
    maxMessageBytes: Number.POSITIVE_INFINITY,
    heardAt: now,
    probe: void 0,
    auth: "none",
    drain: void 0,
    rooms: /* @__PURE__ */ new Map(),
    askAgainAt: void 0,
    pending: /* @__PURE__ */ new Map(),
    lastRef: 0
  };
}
function isReady(link, settings) {
  return link?.node !== void 0 && (!settings.tokens || link.auth === "done");
}
function request(link, pending, body, effects) {
  link.lastRef += 1;
  if (pending !== void 0) link.pending.set(link.lastRef, pending);
  effects.push({ type: "send", link: link.id, text: withRef(body, link.lastRef) });
  return link.lastRef;
}
function send(link, pending, frame, effects) {
  return request(link, pending, writeBody(frame), effects);
}
function answered(link, ref) {
  if (ref === void 0) return void 0;
  const pending = link.pending.get(ref);
  link.pending.delete(ref);
  return pending;
}
function isRepeat(room, id) {
  return compareIds(id, room.last) <= 0;
}
function nextCheck(link, settings) {
  const ready2 = isReady(link, settings);
  if (!ready2) return { at: link.startedAt + settings.connectTimeoutMs, what: "dead" };
  if (link.probe !== void 0) return { at: link.probe.at + settings.pongTimeoutMs, what: "dead" };
  return link.heartbeatMs > 0 ? { at: link.heardAt + link.heartbeatMs, what: "ping" } : void 0;
}

// src/core/state.ts
function newCore(settings, chance) {
  return {
    settings,
    chance,
    rooms: /* @__PURE__ */ new Map(),
    current: void 0,
    next: void 0,
    lastLink: 0,
    openAt: 0,
    failures: 0,
    requests: [],
    pause: void 0,
    token: void 0,
    tokenAsked: void 0,
    tokenRefusals: 0,
    refreshAt: void 0,
    readySince: void 0,
    stage: "connecting",
    effects: []
  };
}
function emit(core, event) {
  core.effects.push({ type: "emit", event });
}
function links(core) {
  return [core.current, core.next].filter((link) => link !== void 0);
}
function findLink(core, id) {
  return links(core).find((link) => link.id === id);
}
function nextDelay(core) {
  const delay = delayMs(core.settings.backoff, core.failures, core.chance());
  core.failures += 1;
  return delay;
}
function nextIsReady(core) {
  const { next } = core;
  if (!isReady(next, core.settings)) return false;
  return [...core.rooms.keys()].every((room) => next.rooms.get(room)?.confirmed === true);
}
function announceStage(core, now) {
  const stage = stageOf(core);
  if (stage === core.stage) return;
  core.stage = stage;
  const waiting = stage === "waiting" && core.openAt !== void 0;
  emit(core, { type: "state", state: stage, ...waiting ? { retryInMs: Math.max(0, core.openAt - now) } : {} });
}
function stageOf(core) {
  if (core.stage === "closed") return "closed";
  if (isReady(core.current, core.settings)) return core.next === void 0 ? "connected" : "moving";
  return core.current === void 0 && core.openAt !== void 0 ? "waiting" : "connecting";
}

// src/core/auth.ts
function tokenForOpening(core, now) {
  if (!core.settings.tokens || core.token?.refreshAt !== void 0 && now < core.token.refreshAt) return true;
  askForToken(core);
  if (core.tokenAsked !== void 0) core.tokenAsked.open = true;
  return false;
}
function gotToken(core, text, expiresInMs, now) {
  const opening = core.tokenAsked?.open === true;
  core.tokenAsked = void 0;
  const margin = expiresInMs === void 0 ? 0 : Math.min(core.settings.refreshBeforeMs, expiresInMs / 2);
  core.refreshAt = expiresInMs === void 0 ? void 0 : now + expiresInMs - margin;
  core.token = { text, refreshAt: core.refreshAt };
  for (const link of links(core)) if (link.node !== void 0) showToken(core, link);
  return opening;
}
function noToken(core, message2, now) {
  const opening = core.tokenAsked?.open === true;
  core.tokenAsked = void 0;
  emit(core, { type: "error", code: "token", message: message2 });
  if (!opening) core.refreshAt = now + core.settings.backoff.baseMs + delayMs(core.settings.backoff, 4, core.chance());
  return opening;
}
function showToken(core, link) {
  if (core.token === void 0) return;
  if (link.auth === "none") link.auth = "asked";
  send(link, { type: "auth" }, { type: "auth", token: core.token.text }, core.effects);
}
function accepted(core, link) {
  link.auth = "done";
  core.tokenRefusals = 0;
}
function tokenRefused(core, link) {
  core.token = void 0;
  core.refreshAt = void 0;
  if (link.auth === "done") return core.settings.tokens;
  core.tokenRefusals += 1;
  return core.settings.tokens && core.tokenRefusals < 2;
}
function refresh(core, now) {
  if (core.refreshAt === void 0 || core.refreshAt > now) return;
  core.refreshAt = void 0;
  if (core.current !== void 0) askForToken(core);
}
function askForToken(core) {
  if (core.tokenAsked !== void 0) return;
  core.tokenAsked = { open: false };
  core.effects.push({ type: "token", refused: core.tokenRefusals > 0 });
}

// src/close.ts
var NEVER = /* @__PURE__ */ new Set([1e3, 1002, 1003, 1007, 1010, 3003]);
var SOON = /* @__PURE__ */ new Set([1001, 1012]);
function afterClose(code) {
  if (NEVER.has(code)) return "never";
  if (SOON.has(code)) return "soon";
  return code === 3e3 ? "token" : "backoff";
}

// src/core/requests.ts
var WINDOW = 64;
var MAX_FAULTS = 5;
var FAULTS = /* @__PURE__ */ new Set([1009, 1011]);
var KEY_LIFE_MS = 4 * 6e4;
var PATIENCE_MS = 3e3;
var RATE_LIMITED_MS = 1e3;
function ask(core, ticket, what, now) {
  if (core.requests.length >= core.settings.maxQueued) {
    const message2 = `${core.settings.maxQueued} requests are waiting`;
    core.effects.push({ type: "settle", ticket, outcome: { ok: false, code: "queue_full", message: message2 } });
    return;
  }
  const deadline = now + what.timeoutMs;
  core.requests.push({ ticket, ask: what, deadline, link: void 0, firstSentAt: void 0, refusals: 0, faults: 0 });
}
function cancel(core, ticket) {
  core.requests = core.requests.filter((request2) => request2.ticket !== ticket);
}
function flush(core, now) {
  const link = core.current;
  if (!isReady(link, core.settings) || nextIsReady(core)) return;
  if (core.pause !== void 0 && (core.pause.until > now || core.requests.length === 0)) {
    if (core.requests.length === 0) core.pause = void 0;
    return;
  }
  let free = (core.pause === void 0 ? WINDOW : 1) - core.requests.filter((request2) => request2.link !== void 0).length;
  for (const request2 of core.requests.filter((request3) => request3.link === void 0)) {
    if (free <= 0) return;
    if (mayBeSent(core, request2, link, now)) {
      dispatch(core, request2, link, now);
      free -= 1;
    }
  }
}
function mayBeSent(core, request2, link, now) {
  const size = new TextEncoder().encode(request2.ask.body).length + 24;
  if (size > link.maxMessageBytes) {
    fail(core, request2, "too_large", `${size} bytes, and the gateway takes ${link.maxMessageBytes}`);
  } else if (request2.firstSentAt !== void 0 && now - request2.firstSentAt > KEY_LIFE_MS) {
    fail(core, request2, "uncertain", "the gateway may have forgotten the idempotency key");
  } else if (request2.faults >= MAX_FAULTS) {
    fail(core, request2, "uncertain", `sent ${request2.faults} times, and the gateway closed the connection each time`);
  } else {
    return true;
  }
  return false;
}
function dispatch(core, request2, link, now) {
  request2.link = link.id;
  request2.firstSentAt ??= now;
  request(link, { type: "request", ticket: request2.ticket }, request2.ask.body, core.effects);
}
function succeed(core, ticket, frame) {
  settle(core, ticket, { ok: true, frame });
}
function refuse(core, ticket, code, message2, now) {
  const request2 = core.requests.find((request3) => request3.ticket === ticket);
  if (request2 === void 0) return;
  if (!passes(code)) return fail(core, request2, code, message2);
  const delay = code === "rate_limited" ? RATE_LIMITED_MS : ceilingMs(core.settings.backoff, request2.refusals) / 2;
  request2.link = void 0;
  request2.refusals += 1;
  core.pause = { until: now + delay * (1 + core.chance()) };
}
function passes(code) {
  return code === "unavailable" || code === "rate_limited";
}
function returnAll(core, link, code) {
  for (const request2 of core.requests.filter((request3) => request3.link === link)) {
    request2.link = void 0;
    if (FAULTS.has(code)) request2.faults += 1;
  }
}
function expire(core, now) {
  for (const request2 of core.requests.filter((request3) => request3.deadline <= now)) {
    const uncertain = request2.firstSentAt !== void 0 && request2.ask.kind === "publish";
    fail(core, request2, uncertain ? "uncertain" : "timeout", `no answer within ${request2.ask.timeoutMs} ms`);
  }
}
function failAll(core, reason) {
  for (const request2 of [...core.requests]) {
    const uncertain = request2.firstSentAt !== void 0 && request2.ask.kind === "publish";
    fail(core, request2, uncertain ? "uncertain" : "closed", reason);
  }
}
function mayLeave(core, now) {
  const waiting = core.requests.some((request2) => request2.link !== void 0 && request2.link === core.current?.id);
  core.readySince ??= now;
  return !waiting || now >= core.readySince + PATIENCE_MS;
}
function requestTimes(core) {
  const paused = core.requests.some((request2) => request2.link === void 0);
  const times = core.requests.map((request2) => request2.deadline);
  times.push(paused ? core.pause?.until : void 0);
  times.push(core.readySince === void 0 ? void 0 : core.readySince + PATIENCE_MS);
  return times;
}
function fail(core, request2, code, message2) {
  settle(core, request2.ticket, { ok: false, code, message: message2 });
}
function settle(core, ticket, outcome) {
  if (!core.requests.some((request2) => request2.ticket === ticket)) return;
  cancel(core, ticket);
  core.effects.push({ type: "settle", ticket, outcome });
}

// src/core/connections.ts
var LATE_MS = 1e3;
function open(core, now, freshToken = false) {
  const { current } = core;
  const moving = current?.drain !== void 0 && core.next === void 0 && now < current.drain.deadline;
  if (current !== void 0 && !moving || !(freshToken || tokenForOpening(core, now))) return;
  core.lastLink += 1;
  const link = newLink(core.lastLink, now);
  if (moving) core.next = link;
  else core.current = link;
  core.effects.push({ type: "open", link: link.id });
}
function opened(core, id, now) {
  const link = findLink(core, id);
  if (link === void 0) return;
  link.heardAt = now;
  if (core.settings.tokens) showToken(core, link);
}
function ready(core, link) {
  if (link !== core.current) return;
  emit(core, { type: "connected", node: link.node ?? "", session: link.session });
  followDrain(core);
}
function drained(core, link, retryAfterMs, deadlineMs, now) {
  const first = link.drain === void 0;
  link.drain = { retryAt: now + retryAfterMs, deadline: now + deadlineMs };
  if (!first) return;
  if (link !== core.current) return drainedOnArrival(core, link, now);
  if (now - link.startedAt >= core.settings.stableAfterMs) core.failures = 0;
  emit(core, { type: "drain", retryAfterMs, deadlineMs });
  followDrain(core);
}
function drainedOnArrival(core, next, now) {
  const deadline = core.current?.drain?.deadline ?? 0;
  if (now + ceilingMs(core.settings.backoff, core.failures) < deadline) turnBack(core, next, now);
}
function drainCancelled(core, link) {
  const { drain } = link;
  link.drain = void 0;
  if (drain === void 0 || link !== core.current) return;
  core.openAt = void 0;
  if (core.next !== void 0) leaveNext(core, core.next);
  emit(core, { type: "drainCancelled", node: link.node ?? "" });
}
function nextWelcomed(core, next, now) {
  if (next === core.next && next.node !== "" && next.node === core.current?.node) turnBack(core, next, now);
}
function turnBack(core, next, now) {
  leaveNext(core, next);
  nextEnded(core, next, 1006, now);
}
function leaveNext(core, next) {
  core.effects.push({ type: "leave", link: next.id });
  core.next = void 0;
  core.readySince = void 0;
  returnAll(core, next.id, 1e3);
}
function cutOver(core, now) {
  if (!nextIsReady(core)) core.readySince = void 0;
  else if (core.current === void 0 || mayLeave(core, now)) takeOver(core);
}
function takeOver(core) {
  const [old, next] = [core.current, core.next];
  core.current = next;
  core.next = void 0;
  core.readySince = void 0;
  core.failures = 0;
  if (old === void 0 || next === void 0) return;
  core.effects.push({ type: "leave", link: old.id });
  returnAll(core, old.id, 1e3);
  emit(core, { type: "moved", from: old.node ?? "", to: next.node ?? "", session: next.session });
  rosters(core, next);
  followDrain(core);
}
function rosters(core, link) {
  for (const [room, { presence }] of core.rooms) if (presence) askRoster(core, link, room);
}
function askRoster(core, link, room) {
  send(link, { type: "roster", room }, { type: "presence", room }, core.effects);
}
function ended(core, id, code, reason, now) {
  returnAll(core, id, code);
  if (core.next?.id === id) nextEnded(core, core.next, code, now);
  else if (core.current?.id === id) currentEnded(core, core.current, code, reason, now);
}
function nextEnded(core, link, code, now) {
  core.next = void 0;
  if (afterClose(code) === "token") tokenRefused(core, link);
  const at = now + nextDelay(core);
  const deadline = core.current?.drain?.deadline ?? 0;
  core.openAt = at < deadline ? at : void 0;
}
function currentEnded(core, link, code, reason, now) {
  const served = isReady(link, core.settings);
  if (served && now - link.startedAt >= core.settings.stableAfterMs) core.failures = 0;
  if (served) emit(core, { type: "disconnected", code, reason, announced: link.drain !== void 0 });
  core.current = core.next;
  core.next = void 0;
  core.readySince = void 0;
  const retry = verdict(core, link, code);
  if (core.current === void 0) return reconnect(core, retry, served, code, reason, now);
  if (isReady(core.current, core.settings)) {
    ready(core, core.current);
    rosters(core, core.current);
  }
}
function verdict(core, link, code) {
  const retry = afterClose(code);
  if (retry !== "token") return retry;
  const known = link.auth === "done";
  return tokenRefused(core, link) ? known ? "soon" : "backoff" : "never";
}
function reconnect(core, retry, served, code, reason, now) {
  if (retry === "never") return finish(core, code, reason);
  if (retry === "soon" && served) core.failures = 0;
  core.openAt = now + nextDelay(core);
}
function postpone(core, now) {
  core.openAt = now + nextDelay(core);
}
function followDrain(core) {
  core.openAt = core.next === void 0 ? core.current?.drain?.retryAt : void 0;
}
function check(core, now) {
  for (const link of links(core)) {
    const due = nextCheck(link, core.settings);
    if (due === void 0 || due.at > now) continue;
    const late = now - due.at > LATE_MS;
    if (due.what === "ping") probe(core, link, false, now);
    else if (late && link.probe?.again === false) probe(core, link, true, now);
    else bury(core, link, now);
  }
}
function wake(core, now) {
  for (const link of links(core)) {
    if (isReady(link, core.settings) && link.probe === void 0) probe(core, link, false, now);
  }
  if (core.current !== void 0 || core.openAt === void 0) return;
  core.failures = 0;
  core.openAt = now;
}
function probe(core, link, again, now) {
  link.probe = { at: now, again };
  send(link, void 0, { type: "ping" }, core.effects);
}
function bury(core, link, now) {
  const reason = isReady(link, core.settings) ? "no answer to a ping" : "no welcome in time";
  core.effects.push({ type: "abort", link: link.id });
  ended(core, link.id, 1006, reason, now);
}
function finish(core, code, reason) {
  if (core.stage === "closed") return;
  for (const link of links(core)) core.effects.push({ type: "leave", link: link.id });
  [core.current, core.next, core.openAt] = [void 0, void 0, void 0];
  [core.tokenAsked, core.refreshAt] = [void 0, void 0];
  failAll(core, reason);
  core.stage = "closed";
  emit(core, { type: "state", state: "closed" });
  emit(core, { type: "closed", code, reason });
}

// src/core/frames.ts
var NO_DEADLINE_MS = 864e5;
var HANDLERS = {
  message,
  welcome,
  subscribed,
  resync,
  ok: answer,
  history: answer,
  presence: answer,
  error: refusal,
  join: (core, link, frame) => change(core, link, "join", frame),
  leave: (core, link, frame) => change(core, link, "leave", frame),
  drain: (core, link, frame, now) => drained(core, link, frame.retryAfterMs ?? 0, frame.deadlineMs ?? NO_DEADLINE_MS, now),
  drainCancelled
};
function handle(core, link, frame, now) {
  if (Object.hasOwn(HANDLERS, frame.type)) HANDLERS[frame.type]?.(core, link, frame, now);
}
function welcome(core, link, frame, now) {
  link.node = frame.node ?? "";
  link.session = frame.session ?? "";
  link.heartbeatMs = frame.heartbeatMs ?? 0;
  link.maxMessageBytes = frame.maxMessageBytes ?? Number.POSITIVE_INFINITY;
  if (isReady(link, core.settings)) ready(core, link);
  nextWelcomed(core, link, now);
}
function subscribed(core, link, frame) {
  const pending = answered(link, frame.ref);
  if (pending?.type !== "subscribe") return;
  const [room, place] = [core.rooms.get(pending.room), link.rooms.get(pending.room)];
  if (room === void 0 || place === void 0 || place.ref !== frame.ref) return;
  const { since } = pending;
  const proven = since === void 0 || frame.recovered === true;
  const position = frame.position ?? since ?? "0-0";
  place.confirmed = true;
  place.last = proven ? since ?? position : position;
  room.cursor ??= position;
  const first = !room.announced;
  room.announced = true;
  if (first) emit(core, { type: "subscribed", room: pending.room, position: room.cursor });
  if (!proven) rebase(core, link, pending.room, position, frame.reason ?? "unrecovered");
  else if (!first) emit(core, { type: "recovered", room: pending.room, replayed: frame.replayed ?? 0 });
  if (room.presence && link === core.current) askRoster(core, link, pending.room);
}
function message(core, link, frame) {
  const { room: name, id } = frame;
  if (name === void 0 || id === void 0) return;
  const [room, place] = [core.rooms.get(name), link.rooms.get(name)];
  if (room === void 0 || place?.confirmed !== true || isRepeat(place, id)) return;
  place.last = id;
  if (room.cursor !== void 0 && compareIds(id, room.cursor) <= 0) return;
  room.cursor = id;
  emit(core, { type: "message", room: name, id, timestamp: frame.timestamp ?? 0, payload: frame.payload });
}
function resync(core, link, frame) {
  const { room: name } = frame;
  const position = frame.position ?? core.rooms.get(name ?? "")?.cursor;
  const place = link.rooms.get(name ?? "");
  if (name === void 0 || position === void 0 || place?.confirmed !== true) return;
  place.last = position;
  rebase(core, link, name, position, frame.reason ?? "");
}
function rebase(core, link, name, position, reason) {
  const room = core.rooms.get(name);
  if (room === void 0) return;
  const back = room.cursor === void 0 || compareIds(position, room.cursor) < 0;
  if (link === core.current || back) room.cursor = position;
  emit(core, { type: "resync", room: name, reason, position });
}
function answer(core, link, frame) {
  const pending = answered(link, frame.ref);
  if (pending?.type === "request") succeed(core, pending.ticket, frame);
  else if (pending?.type === "roster") change(core, link, "presence", { ...frame, room: pending.room });
  else if (pending?.type === "auth") authenticated(core, link);
}
function authenticated(core, link) {
  const before = isReady(link, core.settings);
  accepted(core, link);
  if (!before && isReady(link, core.settings)) ready(core, link);
}
function change(core, link, type, frame) {
  const { room } = frame;
  if (room === void 0 || link !== core.current || core.rooms.get(room)?.presence !== true) return;
  const members = frame.members ?? [];
  emit(core, { type, room, members, count: frame.count ?? members.length });
}
function refusal(core, link, frame, now) {
  const [code, text] = [frame.code ?? "", frame.message ?? ""];
  const pending = answered(link, frame.ref);
  if (pending?.type === "request") refuse(core, pending.ticket, code, text, now);
  else if (pending?.type === "subscribe") subscribeRefused(core, link, pending.room, frame.ref, code, text, now);
  else emit(core, { type: "error", code, message: text });
}
function subscribeRefused(core, link, name, ref, code, message2, now) {
  if (link.rooms.get(name)?.ref !== ref) return;
  if (passes(code)) {
    link.rooms.delete(name);
    link.askAgainAt ??= now + delayMs(core.settings.backoff, 1, core.chance());
    return;
  }
  core.rooms.delete(name);
  for (const other of links(core)) other.rooms.delete(name);
  emit(core, { type: "refused", room: name, code, message: message2 });
}

// src/core/session.ts
function step(core, input, now) {
  if (core.stage !== "closed") {
    happened(core, input, now);
    advance(core, now);
  } else if (input.type === "ask") {
    const outcome = { ok: false, code: "closed", message: "the client was closed" };
    core.effects.push({ type: "settle", ticket: input.ticket, outcome });
  }
  const { effects } = core;
  core.effects = [];
  return effects;
}
function wakeup(core) {
  const times = links(core).flatMap((link) => [nextCheck(link, core.settings)?.at, link.askAgainAt]);
  const all = [...times, ...requestTimes(core), core.openAt, core.refreshAt].filter((time) => time !== void 0);
  return all.length === 0 ? void 0 : Math.min(...all);
}
function happened(core, input, now) {
  switch (input.type) {
    case "subscribe":
      return subscribe(core, input.room, input.since, input.presence);
    case "unsubscribe":
      return unsubscribe(core, input.room);
    case "ask":
      return ask(core, input.ticket, input.ask, now);
    case "cancel":
      return cancel(core, input.ticket);
    case "token":
      return gotToken(core, input.token, input.expiresInMs, now) ? open(core, now, true) : void 0;
    case "tokenFailed":
      return noToken(core, input.message, now) ? postpone(core, now) : void 0;
    case "opened":
      return opened(core, input.link, now);
    case "frame":
      return arrived(core, input, now);
    case "ended":
      return ended(core, input.link, input.code, input.reason, now);
    case "wake":
      return wake(core, now);
    case "tick":
      return;
    case "close":
      return finish(core, 1e3, "closed by the application");
  }
}
function subscribe(core, name, since, presence) {
  const room = core.rooms.get(name);
  if (room === void 0) {
    core.rooms.set(name, { cursor: since, announced: false, presence });
  } else if (presence && !room.presence) {
    room.presence = true;
    for (const link of links(core)) link.rooms.delete(name);
  }
}
function unsubscribe(core, name) {
  if (!core.rooms.delete(name)) return;
  for (const link of links(core)) {
    if (link.rooms.delete(name)) send(link, void 0, { type: "unsubscribe", room: name }, core.effects);
  }
}
function arrived(core, input, now) {
  const link = findLink(core, input.link);
  if (link === void 0) return;
  link.heardAt = now;
  link.probe = void 0;
  handle(core, link, input.frame, now);
}
function advance(core, now) {
  check(core, now);
  refresh(core, now);
  if (core.openAt !== void 0 && core.openAt <= now) {
    core.openAt = void 0;
    open(core, now);
  }
  expire(core, now);
  askForRooms(core, now);
  cutOver(core, now);
  flush(core, now);
  announceStage(core, now);
}
function askForRooms(core, now) {
  for (const link of links(core)) {
    if (!isReady(link, core.settings) || (link.askAgainAt ?? 0) > now) continue;
    link.askAgainAt = void 0;
    for (const [name, room] of core.rooms) {
      const begins = room.cursor !== void 0 || link === core.current;
      if (begins && !link.rooms.has(name)) subscribeOn(core, link, name);
    }
  }
}
function subscribeOn(core, link, name) {
  const room = core.rooms.get(name);
  const since = room?.cursor;
  const presence = room?.presence === true ? true : void 0;
  const frame = { type: "subscribe", room: name, since, presence };
  const ref = send(link, { type: "subscribe", room: name, since }, frame, core.effects);
  link.rooms.set(name, { ref, confirmed: false, last: "0-0" });
}

// src/token.ts
function readToken(given, now) {
  const { token, expiresAt } = typeof given === "string" ? { token: given, expiresAt: void 0 } : given;
  if (typeof token !== "string" || token === "") throw new TypeError("token: the callback gave none");
  const at = expiresAt ?? expiry(token);
  return { token, expiresInMs: at === void 0 ? void 0 : Math.max(0, at - now) };
}
function expiry(token) {
  const claims = token.split(".")[1];
  if (claims === void 0) return void 0;
  try {
    const { exp } = JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/")));
    return typeof exp === "number" ? exp * 1e3 : void 0;
  } catch {
    return void 0;
  }
}

// src/driver.ts
var LONGEST_MS = 2 ** 31 - 1;
var GOODBYE_MS = 3e3;
var Driver = class {
  #chosen;
  #core;
  #deliver;
  #sockets = /* @__PURE__ */ new Map();
  #goodbyes = /* @__PURE__ */ new Set();
  #settlers = /* @__PURE__ */ new Map();
  #inputs = [];
  #over = new AbortController();
  #timer;
  #lastTicket = 0;
  #stepping = false;
  constructor(chosen, deliver) {
    this.#chosen = chosen;
    this.#deliver = deliver;
    this.#core = newCore(chosen.settings, Math.random);
    this.#timer = setTimeout(() => this.input({ type: "tick" }), 0);
    this.#watchPage();
  }
  /** Something happened. What happens meanwhile (a listener that publishes) waits for its turn. */
  input(input) {
    this.#inputs.push(input);
    if (this.#stepping) return;
    this.#stepping = true;
    for (let next = this.#inputs.shift(); next !== void 0; next = this.#inputs.shift()) {
      for (const effect of step(this.#core, next, performance.now())) this.#carryOut(effect);
    }
    this.#stepping = false;
    this.#arm();
  }
  /** Asks the gateway; `settle` is called once. */
  ask(kind, body, timeoutMs, settle2) {
    this.#lastTicket += 1;
    const ticket = this.#lastTicket;
    this.#settlers.set(ticket, settle2);
    this.input({ type: "ask", ticket, ask: { kind, body, timeoutMs } });
    return ticket;
  }
  /** Nobody waits for that answer any more. */
  cancel(ticket) {
    if (this.#settlers.delete(ticket)) this.input({ type: "cancel", ticket });
  }
  /** Says goodbye, and resolves when the connections are closed. */
  async close() {
    this.input({ type: "close" });
    await Promise.all(this.#goodbyes);
  }
  #carryOut(effect) {
    switch (effect.type) {
      case "token":
        return void this.#fetchToken(effect.refused);
      case "open":
        return this.#open(effect.link);
      case "send":
        return this.#sockets.get(effect.link)?.send(effect.text);
      case "leave":
        return this.#leave(effect.link);
      case "abort":
        return this.#abort(effect.link);
      case "emit":
        if (effect.event.type === "closed") this.#over.abort();
        return this.#deliver(effect.event);
      case "settle":
        return this.#settle(effect.ticket, effect.outcome);
    }
  }
  #settle(ticket, outcome) {
    const settle2 = this.#settlers.get(ticket);
    this.#settlers.delete(ticket);
    settle2?.(outcome);
  }
  async #fetchToken(refused) {
    try {
      const given = await this.#chosen.token?.({ refused, signal: this.#over.signal });
      if (given === void 0) throw new TypeError("token: the callback gave none");
      this.input({ type: "token", ...readToken(given, Date.now()) });
    } catch (error) {
      this.input({ type: "tokenFailed", message: error instanceof Error ? error.message : String(error) });
    }
  }
  #open(link) {
    let socket;
    try {
      socket = new this.#chosen.socket(this.#chosen.url, SUBPROTOCOL);
    } catch (error) {
      return this.input({ type: "ended", link, code: 1006, reason: String(error) });
    }
    this.#sockets.set(link, socket);
    let broke = "";
    socket.onopen = () => this.input({ type: "opened", link });
    socket.onmessage = (event) => this.#arrived(link, event.data);
    socket.onerror = (event) => {
      broke = event.message ?? "";
    };
    socket.onclose = (event) => {
      this.#sockets.delete(link);
      this.input({ type: "ended", link, code: event.code ?? 1006, reason: event.reason || broke });
    };
  }
  #arrived(link, data) {
    const frame = typeof data === "string" ? readFrame(data) : void 0;
    if (frame !== void 0) this.input({ type: "frame", link, frame });
    else this.#deliver({ type: "error", code: "bad_frame", message: "the gateway sent what is no frame of the protocol" });
  }
  #leave(link) {
    const socket = this.#forget(link);
    if (socket === void 0) return;
    const goodbye = farewell(socket).finally(() => this.#goodbyes.delete(goodbye));
    this.#goodbyes.add(goodbye);
  }
  #abort(link) {
    const socket = this.#forget(link);
    if (socket?.terminate !== void 0) socket.terminate();
    else socket?.close();
  }
  #forget(link) {
    const socket = this.#sockets.get(link);
    this.#sockets.delete(link);
    if (socket !== void 0) {
      [socket.onopen, socket.onmessage, socket.onclose] = [null, null, null];
      socket.onerror = () => {
      };
    }
    return socket;
  }
  #arm() {
    clearTimeout(this.#timer);
    const at = wakeup(this.#core);
    if (at === void 0) return;
    const wait = Math.min(Math.max(1, Math.ceil(at - performance.now())), LONGEST_MS);
    this.#timer = setTimeout(() => this.input({ type: "tick" }), wait);
  }
  /** A page that comes back, and a network that comes back, are looked after at once. */
  #watchPage() {
    const { signal } = this.#over;
    const wake2 = () => this.input({ type: "wake" });
    if (typeof window !== "undefined") window.addEventListener?.("online", wake2, { signal });
    if (typeof document === "undefined") return;
    document.addEventListener?.("visibilitychange", () => document.visibilityState === "visible" && wake2(), { signal });
  }
};
function farewell(socket) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      socket.terminate?.();
      resolve();
    }, GOODBYE_MS);
    socket.onclose = () => {
      clearTimeout(timer);
      resolve();
    };
    socket.close(1e3, "bye");
  });
}

// src/emitter.ts
var Emitter = class {
  #listeners = /* @__PURE__ */ new Map();
  /** Calls `listener` for every such event; the returned function, or `signal`, ends that. */
  on(name, listener, options) {
    const own = (data) => listener(data);
    const set = this.#listeners.get(name) ?? /* @__PURE__ */ new Set();
    this.#listeners.set(name, set.add(own));
    const off = () => void set.delete(own);
    if (options?.signal?.aborted) off();
    options?.signal?.addEventListener("abort", off, { once: true });
    return off;
  }
  /** The next such event. */
  once(name) {
    return new Promise((resolve) => {
      const off = this.on(name, (data) => {
        off();
        resolve(data);
      });
    });
  }
  emit(name, data) {
    for (const listener of [...this.#listeners.get(name) ?? []]) {
      try {
        listener(data);
      } catch (error) {
        report(error);
      }
    }
  }
};
function report(error) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else {
    queueMicrotask(() => {
      throw error;
    });
  }
}

// src/errors.ts
var WsClusterError = class extends Error {
  code;
  constructor(code, message2) {
    super(message2 === "" ? code : `${code}: ${message2}`);
    this.name = "WsClusterError";
    this.code = code;
  }
};

// src/options.ts
function choose(url, options) {
  const number = (name, fallback) => positive(name, options[name] ?? fallback);
  return {
    url: socketUrl(url),
    socket: options.WebSocket ?? globalSocket(),
    token: options.token,
    requestTimeoutMs: number("requestTimeoutMs", 3e4),
    maxBuffered: number("maxBuffered", 1e4),
    settings: {
      backoff: {
        baseMs: positive("backoff.baseMs", options.backoff?.baseMs ?? 500),
        maxMs: positive("backoff.maxMs", options.backoff?.maxMs ?? 2e4)
      },
      connectTimeoutMs: number("connectTimeoutMs", 1e4),
      pongTimeoutMs: number("pongTimeoutMs", 1e4),
      stableAfterMs: 1e4,
      maxQueued: number("maxQueued", 1e3),
      refreshBeforeMs: number("refreshBeforeMs", 3e4),
      tokens: options.token !== void 0
    }
  };
}
function socketUrl(url) {
  const base = globalThis.location?.href;
  let parsed;
  try {
    parsed = new URL(url, base);
  } catch {
    throw new TypeError(`url: \`${url}\` is no URL: use wss://host/ws`);
  }
  parsed.protocol = parsed.protocol.replace(/^http/, "ws");
  if (!/^wss?:$/.test(parsed.protocol)) throw new TypeError(`url: \`${url}\` has the wrong scheme: use wss:// or ws://`);
  parsed.hash = "";
  return parsed.href;
}
function globalSocket() {
  const found = globalThis.WebSocket;
  if (found !== void 0) return found;
  throw new TypeError("WebSocket: this platform has none: pass one, such as that of the `ws` package");
}
function positive(name, value) {
  if (typeof value === "number" && value > 0) return value;
  throw new TypeError(`${name}: ${String(value)} is no positive number`);
}

// src/subscription.ts
var Subscription = class extends Emitter {
  room;
  /** Resolves when the gateway has confirmed the room, rejects when it refused. */
  ready;
  #client;
  #maxBuffered;
  #members = /* @__PURE__ */ new Map();
  #iterations = /* @__PURE__ */ new Set();
  #cursor;
  #count = 0;
  #over = false;
  #resolve;
  #reject;
  /** Made by `Client.subscribe`. @internal */
  constructor(client, room, since, maxBuffered) {
    super();
    this.#client = client;
    this.room = room;
    this.#cursor = since;
    this.#maxBuffered = maxBuffered;
    this.ready = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.ready.catch(() => {
    });
  }
  /** The last message that was delivered, or where the room began: keep it, and give it as `since` another time. */
  get cursor() {
    return this.#cursor;
  }
  /** Who is here, with `presence: true`; in a large room a part of them (`count` is all). */
  get members() {
    return [...this.#members.values()];
  }
  /** How many are here, with `presence: true`. */
  get count() {
    return this.#count;
  }
  publish(payload, options) {
    return this.#client.publish(this.room, payload, options);
  }
  /** Leaves the room. Iterations over it end. */
  unsubscribe() {
    this.#client.unsubscribe(this.room);
  }
  /** Every message from now on. Ends when the room is left or the client is closed. */
  [Symbol.asyncIterator]() {
    const iteration = new Iteration(this.#maxBuffered, () => this.#iterations.delete(iteration));
    if (this.#over) iteration.end();
    else this.#iterations.add(iteration);
    return iteration;
  }
  /** Something happened in the room. @internal */
  handle(event) {
    const { type, ...data } = event;
    if (event.type === "subscribed" || event.type === "resync") this.#cursor = event.position;
    if (event.type === "presence") this.#members.clear();
    if (event.type === "presence" || event.type === "join") for (const member of event.members) this.#members.set(member.session, member);
    if (event.type === "leave") for (const member of event.members) this.#members.delete(member.session);
    if ("count" in event) this.#count = event.count;
    if (event.type === "subscribed") this.#resolve({ position: event.position });
    if (event.type === "message") {
      this.#cursor = event.id;
      for (const iteration of this.#iterations) iteration.push(data);
    }
    this.emit(type, data);
    if (event.type === "refused") this.end(event.code, event.message);
  }
  /** Nothing follows. @internal */
  end(code, message2) {
    this.#over = true;
    this.#reject(new WsClusterError(code, message2));
    for (const iteration of this.#iterations) iteration.end();
  }
};
var Iteration = class {
  #waiting = [];
  #max;
  #done;
  #wanted = [];
  #error;
  #over = false;
  constructor(max, done) {
    this.#max = max;
    this.#done = done;
  }
  push(message2) {
    const wanted = this.#wanted.shift();
    if (wanted !== void 0) return wanted.resolve({ value: message2, done: false });
    if (this.#waiting.length >= this.#max) {
      this.#error = new WsClusterError("too_slow", `the iteration is more than ${this.#max} messages behind`);
      return this.end();
    }
    this.#waiting.push(message2);
  }
  end() {
    this.#over = true;
    this.#done();
    for (const { resolve } of this.#wanted.splice(0)) resolve({ value: void 0, done: true });
  }
  next() {
    const value = this.#waiting.shift();
    if (value !== void 0) return Promise.resolve({ value, done: false });
    const error = this.#error;
    this.#error = void 0;
    if (error !== void 0) return Promise.reject(error);
    if (this.#over) return Promise.resolve({ value: void 0, done: true });
    return new Promise((resolve, reject) => this.#wanted.push({ resolve, reject }));
  }
  return() {
    this.#waiting.length = 0;
    this.end();
    return Promise.resolve({ value: void 0, done: true });
  }
};

// src/client.ts
var Client = class extends Emitter {
  #chosen;
  #driver;
  #rooms = /* @__PURE__ */ new Map();
  #state = "connecting";
  #node;
  #session;
  /** Connects at once, in the background. Throws a TypeError for a bad URL or option; everything later is an event. */
  constructor(url, options = {}) {
    super();
    this.#chosen = choose(url, options);
    this.#driver = new Driver(this.#chosen, (event) => this.#handle(event));
    onAbort(options.signal, () => void this.close());
  }
  get state() {
    return this.#state;
  }
  /** The gateway that serves the session, or did last. */
  get node() {
    return this.#node;
  }
  /** That gateway's name for the connection. */
  get session() {
    return this.#session;
  }
  /** The rooms that are subscribed to. */
  get rooms() {
    return this.#rooms;
  }
  /** Joins a room. For a room that is subscribed to already: the same subscription (with presence, if it is new). */
  subscribe(room, options = {}) {
    const { since, presence = false } = options;
    if (since !== void 0 && !isMessageId(since)) throw new TypeError(`since: \`${since}\` is no message id`);
    if (this.#state === "closed") throw new WsClusterError("closed", "the client was closed");
    const known = this.#rooms.get(room);
    const subscription = known ?? new Subscription(this, room, since, this.#chosen.maxBuffered);
    this.#rooms.set(room, subscription);
    this.#driver.input({ type: "subscribe", room, since, presence });
    onAbort(options.signal, () => subscription.unsubscribe());
    return subscription;
  }
  unsubscribe(room) {
    const subscription = this.#rooms.get(room);
    if (!this.#rooms.delete(room)) return;
    this.#driver.input({ type: "unsubscribe", room });
    subscription?.end("unsubscribed", "the room was left");
  }
  /** Writes a message and gives its id. While there is no connection it waits for one; a retry writes once. */
  async publish(room, payload, options = {}) {
    if (JSON.stringify(payload) === void 0) throw new TypeError("payload: a value that JSON can tell is needed");
    const idempotencyKey = options.idempotencyKey ?? randomKey();
    const body = writeBody({ type: "publish", room, payload, idempotencyKey });
    const { id } = await this.#ask("publish", body, options);
    if (id === void 0) throw new WsClusterError("uncertain", "the gateway named no id");
    return id;
  }
  /** A page of what was said before, oldest first. */
  async history(room, options = {}) {
    const { before, limit } = options;
    const { messages = [], more = false } = await this.#ask("history", writeBody({ type: "history", room, before, limit }), options);
    return { messages: messages.map((past) => ({ room, ...past })), more };
  }
  /** Who is in a room now. */
  async presence(room, options = {}) {
    const { members = [], count } = await this.#ask("presence", writeBody({ type: "presence", room }), options);
    return { members, count: count ?? members.length };
  }
  /** Ends the session: `closed` follows, waiting requests fail. Resolves when the connections are closed. */
  close() {
    return this.#driver.close();
  }
  #ask(kind, body, options) {
    const { signal, timeoutMs = this.#chosen.requestTimeoutMs } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const aborted = () => {
        this.#driver.cancel(ticket);
        reject(signal?.reason);
      };
      const ticket = this.#driver.ask(kind, body, timeoutMs, (outcome) => {
        signal?.removeEventListener("abort", aborted);
        if (outcome.ok) resolve(outcome.frame);
        else reject(new WsClusterError(outcome.code, outcome.message));
      });
      signal?.addEventListener("abort", aborted, { once: true });
    });
  }
  #handle(event) {
    const { type, ...data } = event;
    if (event.type === "state") this.#state = event.state;
    if (event.type === "connected") this.#node = event.node;
    if (event.type === "moved") this.#node = event.to;
    if (event.type === "connected" || event.type === "moved") this.#session = event.session;
    if ("room" in event) {
      const subscription = this.#rooms.get(event.room);
      if (event.type === "refused") this.#rooms.delete(event.room);
      subscription?.handle(event);
    }
    this.emit(type, data);
    if (event.type === "closed") {
      for (const subscription of this.#rooms.values()) subscription.end("closed", event.reason);
      this.#rooms.clear();
    }
  }
};
function onAbort(signal, action) {
  if (signal?.aborted) queueMicrotask(action);
  else signal?.addEventListener("abort", action, { once: true });
}
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
export {
  Client,
  SUBPROTOCOL,
  Subscription,
  WsClusterError,
  compareIds
};
