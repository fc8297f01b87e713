// The core, told what happens line by line.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Script } from "../shared/script.js";

const same: (actual: unknown, expected: unknown, message?: string) => void = assert.deepEqual;

test("a session connects, subscribes and counts from its position", () => {
  const script = new Script();
  same(script.step({ type: "subscribe", room: "lobby", presence: false }), ["open 1"]);
  same(script.open(1, "a"), ["connected a", "send 1 subscribe lobby"]);
  same(script.frame(1, { type: "subscribed", ref: 1, room: "lobby", position: "5-0" }), ["subscribed lobby 5-0"]);
  same(script.message(1, "5-1"), ["message 5-1"]);
  same(script.message(1, "10-0"), ["message 10-0"]);
});

test("an entry that one connection brings twice or late is not a message", () => {
  const script = Script.served();
  same(script.message(1, "7-0"), ["message 7-0"]);
  for (const id of ["7-0", "6-0", "5-0"]) same(script.message(1, id), [], id);
});

test("a broken connection is resumed from the cursor", () => {
  const script = Script.served();
  script.message(1, "7-0");
  same(script.closed(1, 1006), ["disconnected 1006", "open 2"]);
  same(script.open(2, "b"), ["connected b", "send 2 subscribe lobby 7-0"]);
  same(script.message(2, "8-0"), [], "not yet confirmed");
  same(script.frame(2, { type: "subscribed", ref: 1, position: "7-0", recovered: true, replayed: 1 }), ["recovered lobby 1"]);
  same(script.message(2, "8-0"), ["message 8-0"]);
});

test("what cannot be proven is told as resync, and goes on from there", () => {
  const script = Script.served();
  script.closed(1, 1006);
  script.open(2, "b");
  same(script.frame(2, { type: "subscribed", ref: 1, position: "90-0", recovered: false, replayed: 0 }), ["resync lobby unrecovered"]);
  same(script.message(2, "91-0"), ["message 91-0"]);
  same(script.frame(2, { type: "resync", room: "lobby", reason: "reset", position: "3-0" }), ["resync lobby reset"]);
  same(script.message(2, "4-0"), ["message 4-0"]);
});

test("a drain is followed: the next connection is made before the old one is left", () => {
  const script = Script.served();
  same(script.drain(1, 300, 5000), ["drain"]);
  same(script.wait(299), []);
  same(script.wait(1), ["open 2"]);
  same(script.message(1, "6-0"), ["message 6-0"], "the old one serves on");
  same(script.open(2, "b"), ["send 2 subscribe lobby 6-0"]);
  same(script.message(1, "7-0"), ["message 7-0"]);
  same(script.frame(2, { type: "subscribed", ref: 1, position: "6-0", recovered: true, replayed: 1 }), [
    "recovered lobby 1",
    "leave 1",
    "moved a b",
  ]);
  same(script.message(2, "7-0"), [], "the old one was quicker");
  same(script.message(2, "8-0"), ["message 8-0"]);
});

test("a failed move is tried again until the deadline, then the close is waited for", () => {
  const script = Script.served();
  script.drain(1, 0, 100);
  same(script.closed(2, 1006), ["open 3"]);
  script.now = 100;
  same(script.closed(3, 1006), []);
  same(script.closed(1, 1012), ["disconnected 1012 announced", "open 4"]);
});

const RECOVERED = { type: "subscribed", ref: 1, position: "5-0", recovered: true } as const;

/** With a second between attempts at most; chance gives none. */
const patient = () => Script.served({ backoff: { baseMs: 1000, maxMs: 1000 } });

test("a next gateway that says drain at once is not moved to", () => {
  const script = patient();
  same(script.drain(1, 0, 5000), ["drain", "open 2"]);
  script.open(2, "b");
  same(script.drain(2, 100, 60_000), ["leave 2", "open 3"]);
  same(script.message(1, "6-0"), ["message 6-0"], "the old one serves on");
  script.open(3, "c");
  same(script.frame(3, RECOVERED), ["recovered lobby 0", "leave 1", "moved a c"]);
});

test("a next gateway that drains is better than to be closed", () => {
  const script = Script.served({ backoff: { baseMs: 5000, maxMs: 5000 } });
  script.drain(1, 0, 5000);
  script.open(2, "b");
  same(script.drain(2, 100, 5000), [], "no time that is sure for another attempt");
  same(script.frame(2, RECOVERED), ["recovered lobby 0", "leave 1", "moved a b"]);
  same(script.wait(100), ["open 3"]);
});

test("who lands on a gateway that drains but has not said so stays until it does", () => {
  const script = patient();
  script.drain(1, 0, 5000);
  script.open(2, "b");
  same(script.frame(2, RECOVERED), ["recovered lobby 0", "leave 1", "moved a b"]);
  same(script.wait(500), []);
  same(script.drain(2, 100, 5000), ["drain"]);
  same(script.wait(100), ["open 3"]);
});

test("who lands on the gateway that it leaves turns back", () => {
  const script = patient();
  script.drain(1, 0, 400);
  same(script.open(2, "a"), ["leave 2", "open 3"]);
  script.now += 400;
  same(script.open(3, "a"), ["leave 3"], "also when it is late");
  same(script.message(1, "6-0"), ["message 6-0"]);
});

test("a cancelled drain lets the session stay, and the next one is followed again", () => {
  const script = patient();
  const cancel = () => script.frame(1, { type: "drainCancelled" });
  script.drain(1, 200, 5000);
  same(cancel(), ["drainCancelled"]);
  same(script.wait(300), []);
  same(script.drain(1, 200, 5000), ["drain"]);
  same(script.wait(200), ["open 2"]);
  script.open(2, "b");
  same(cancel(), ["leave 2", "drainCancelled"], "the next one does not serve yet");
  same(script.frame(2, RECOVERED), []);
  same(cancel(), [], "nobody drains");
  same(script.drain(1, 0, 5000), ["drain", "open 3"]);
  script.open(3, "b");
  same(script.frame(3, RECOVERED), ["recovered lobby 0", "leave 1", "moved a b"]);
  same(cancel(), [], "who has moved has moved");
});

test("when the old connection ends early, the next one serves", () => {
  const script = Script.served();
  script.drain(1, 0, 5000);
  same(script.closed(1, 1012), ["disconnected 1012 announced"]);
  same(script.open(2, "b"), ["connected b", "send 2 subscribe lobby 5-0"]);
});

test("codes that would come again end the session", () => {
  for (const code of [1000, 1003, 3000, 3003]) {
    const script = Script.served();
    same(script.closed(1, code), [`disconnected ${code}`, "closed"], String(code));
    same(script.due, undefined);
  }
});

test("a silent connection is asked, then dropped", () => {
  const script = Script.served();
  assert.equal(script.due, 1000);
  same(script.wait(999), []);
  same(script.wait(1), ["send 1 ping "].map((line) => line.trim()));
  same(script.wait(499), []);
  same(script.wait(1), ["abort 1", "disconnected 1006", "open 2"]);
});

test("anything that is heard keeps a connection alive", () => {
  const script = Script.served();
  script.wait(1000);
  script.frame(1, { type: "pong" });
  assert.equal(script.due, 1000);
});

test("a process that was stopped asks once more before it drops a connection", () => {
  const script = Script.served();
  same(script.wait(1000), ["send 1 ping"]);
  same(script.wait(60_000), ["send 1 ping"], "late: what the gateway answered may wait to be read");
  same(script.wait(60_000), ["abort 1", "disconnected 1006", "open 2"], "and a second time is enough");
});

test("a network that comes back is used at once", () => {
  const script = Script.served({ backoff: { baseMs: 1000, maxMs: 1000 } });
  same(script.step({ type: "wake" }), ["send 1 ping"]);
  script.core.openAt = undefined;
  const waiting = new Script({ backoff: { baseMs: 10_000, maxMs: 10_000 } });
  Object.assign(waiting.core, { chance: () => 0.5 });
  waiting.wait(0);
  same(waiting.closed(1, 1006), []);
  assert.equal(waiting.due, 5000);
  same(waiting.step({ type: "wake" }), ["open 2"]);
});

test("no welcome in time is a failure", () => {
  const script = new Script();
  script.wait(0);
  same(script.wait(9999), []);
  same(script.wait(1), ["abort 1", "open 2"]);
});

test("publishes wait for a connection, in their order", () => {
  const script = new Script();
  same(script.publish(1), ["open 1"]);
  same(script.publish(2), []);
  same(script.open(1, "a"), ["connected a", "send 1 publish lobby 1", "send 1 publish lobby 2"]);
  same(script.frame(1, { type: "ok", ref: 1, id: "6-0" }), ["settle 1 6-0"]);
});

test("a publish without an answer is sent again, and before newer ones", () => {
  const script = Script.served();
  same(script.publish(1), ["send 1 publish lobby 1"]);
  same(script.closed(1, 1006), ["disconnected 1006", "open 2"]);
  same(script.publish(2), []);
  same(script.open(2, "b").slice(2), ["send 2 publish lobby 1", "send 2 publish lobby 2"]);
});

test("a full queue says so", () => {
  const script = new Script({ maxQueued: 2 });
  same(script.publish(1), ["open 1"]);
  same(script.publish(2), []);
  same(script.publish(3), ["settle 3 queue_full"]);
  same(script.step({ type: "cancel", ticket: 1 }), []);
  same(script.publish(4), []);
});

test("a publish that was never sent times out, one that was is uncertain", () => {
  const script = new Script();
  script.publish(1, 50);
  same(script.wait(49), []);
  same(script.wait(1), ["settle 1 timeout"]);
  script.open(1, "a");
  script.publish(2, 50);
  same(script.wait(50), ["settle 2 uncertain"]);
  same(script.frame(1, { type: "ok", ref: 2, id: "6-0" }), [], "too late");
});

test("a refusal that may pass is tried again, one at a time; another is told", () => {
  const script = Script.served();
  script.publish(1);
  script.publish(2);
  same(script.frame(1, { type: "error", ref: 2, code: "rate_limited" }), []);
  same(script.frame(1, { type: "error", ref: 3, code: "rate_limited" }), []);
  same(script.wait(999), []);
  same(script.wait(1), ["send 1 ping", "send 1 publish lobby 1"]);
  same(script.frame(1, { type: "ok", ref: 5, id: "6-0" }), ["settle 1 6-0", "send 1 publish lobby 2"]);
  same(script.frame(1, { type: "error", ref: 6, code: "forbidden" }), ["settle 2 forbidden"]);
});

test("at the gateway's limit a message is sent, above it is not", () => {
  const size = (script: Script, bytes: number) => {
    const body = `{"type":"publish","payload":"${"é".repeat((bytes - 24 - 29) / 2)}"`;
    return script.step({ type: "ask", ticket: 1, ask: { kind: "publish", body, timeoutMs: 1000 } });
  };
  assert.match(size(Script.served(), 999).join(), /^send/);
  same(size(Script.served(), 1001), ["settle 1 too_large"]);
});

test("a request that broke five connections is not sent a sixth time", () => {
  const script = Script.served();
  script.publish(1);
  for (let link = 1; link <= 4; link++) {
    script.closed(link, 1011);
    assert.ok(script.open(link + 1, "a").includes(`send ${link + 1} publish lobby 1`), String(link));
  }
  script.closed(5, 1011);
  assert.ok(script.open(6, "a").includes("settle 1 uncertain"));
});

test("a cut-over waits for answers on the old connection, but not for ever", () => {
  const script = Script.served();
  script.publish(1);
  script.drain(1, 0, 60_000);
  script.open(2, "b", { heartbeatMs: 0 });
  script.core.current!.heartbeatMs = 0;
  const confirm = { type: "subscribed", ref: 1, position: "5-0", recovered: true, replayed: 0 };
  same(script.frame(2, confirm), ["recovered lobby 0"]);
  same(script.publish(2), [], "held, so that it cannot overtake");
  same(script.wait(2999), []);
  same(script.wait(1), ["leave 1", "moved a b", "send 2 publish lobby 1", "send 2 publish lobby 2"]);
});

test("an answer to an earlier subscribe does not confirm a later one", () => {
  const script = Script.served();
  script.step({ type: "unsubscribe", room: "lobby" });
  same(script.step({ type: "subscribe", room: "lobby", presence: false }), ["send 1 subscribe lobby"]);
  script.step({ type: "unsubscribe", room: "lobby" });
  same(script.step({ type: "subscribe", room: "lobby", presence: false }), ["send 1 subscribe lobby"]);
  same(script.frame(1, { type: "subscribed", ref: 3, position: "7-0" }), []);
  same(script.message(1, "8-0"), [], "of the subscription that was left");
  same(script.frame(1, { type: "subscribed", ref: 5, position: "9-0" }), ["subscribed lobby 9-0"]);
});

test("a room that is refused is no longer asked for, one that cannot be had just now is", () => {
  const script = new Script();
  script.step({ type: "subscribe", room: "secret", presence: false });
  script.step({ type: "subscribe", room: "busy", presence: false });
  script.open(1, "a");
  same(script.frame(1, { type: "error", ref: 1, code: "forbidden" }), ["refused secret forbidden"]);
  same(script.frame(1, { type: "error", ref: 2, code: "unavailable" }), ["send 1 subscribe busy"]);
  script.closed(1, 1006);
  same(script.open(2, "b"), ["connected b", "send 2 subscribe busy"]);
});

test("presence is asked for after each subscription, and told by one connection", () => {
  const script = Script.served({}, true);
  const members = [{ session: "x" }];
  same(script.frame(1, { type: "presence", ref: 2, members, count: 1 }), ["presence lobby 1"]);
  same(script.frame(1, { type: "join", room: "lobby", members, count: 2 }), ["join lobby 2"]);
  script.drain(1, 0, 5000);
  same(script.open(2, "b"), ["send 2 subscribe lobby 5-0 presence"]);
  same(script.frame(2, { type: "join", room: "lobby", members, count: 3 }), []);
  same(script.frame(2, { type: "subscribed", ref: 1, position: "5-0", recovered: true }), [
    "recovered lobby 0",
    "leave 1",
    "moved a b",
    "send 2 presence lobby",
  ]);
  same(script.frame(2, { type: "leave", room: "lobby", members, count: 2 }), ["leave lobby 2"]);
});

test("a room gets presence later from its cursor", () => {
  const script = Script.served();
  script.message(1, "7-0");
  same(script.step({ type: "subscribe", room: "lobby", presence: true }), ["send 1 subscribe lobby 7-0 presence"]);
});

test("frames of types that are not known are ignored", () => {
  const script = Script.served();
  for (const type of ["news", "constructor", "__proto__", "toString"]) same(script.frame(1, { type }), [], type);
});

test("nothing follows the end", () => {
  const script = Script.served();
  script.publish(1);
  same(script.step({ type: "close" }), ["leave 1", "settle 1 uncertain", "closed"]);
  same(script.closed(1, 1000), []);
  same(script.publish(2), ["settle 2 closed"]);
  same([script.wait(1e9), script.due], [[], undefined]);
});

test("the state is told when it changes", () => {
  const script = new Script({ backoff: { baseMs: 100, maxMs: 100 } });
  Object.assign(script.core, { chance: () => 0.9 });
  same(script.states({ type: "tick" }), []);
  script.states({ type: "opened", link: 1 });
  same(script.states({ type: "frame", link: 1, frame: { type: "welcome", node: "a" } }), ["state connected"]);
  same(script.states({ type: "frame", link: 1, frame: { type: "drain", retryAfterMs: 0, deadlineMs: 9000 } }), ["state moving"]);
  same(script.states({ type: "ended", link: 2, code: 1006, reason: "" }), ["state connected"]);
  same(script.states({ type: "ended", link: 1, code: 1006, reason: "" }), ["state waiting"]);
  script.now = 1000;
  same(script.states({ type: "tick" }), ["state connecting"]);
  same(script.states({ type: "close" }), ["state closed"]);
});
