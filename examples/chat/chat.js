// The chat: rooms, who is in them, and what becomes of the connection below. No build step, no framework. The client
// does everything that has to do with connections; this page only shows it.

import { Client } from "./wscluster.js";

/** Who is who: each session says its name here. */
const NAMES = "chat:names";
const FIRST_ROOMS = ["lobby", "support", "random"];
const HISTORY = 50;

const element = (id) => document.getElementById(id);
const me = { id: kept("chat.id", () => randomText()), name: kept("chat.name", guestName) };
const rooms = new Map();
const names = new Map();
/** The resume under way: its rooms make one line of the log. */
let resumed;
let current = decodeURIComponent(location.hash.slice(1)) || FIRST_ROOMS[0];

const client = new Client("/ws");
client.on("state", showState);
client.on("connected", ({ node }) => {
  log("good", `Connected to ${node}`);
  introduce();
});
client.on("moved", ({ from, to }) => {
  count("moves");
  log("good", `Moved from ${from} to ${to} without a gap`);
  showState({ state: client.state });
  introduce();
});
client.on("drain", ({ retryAfterMs }) => {
  resumed = undefined;
  log("warn", `${client.node} is drained and asks us to move in ${seconds(retryAfterMs)}`);
});
client.on("disconnected", ({ code, reason }) => {
  resumed = undefined;
  log("bad", `Connection lost (${[code, reason].filter(Boolean).join(" ")})`);
});
client.on("recovered", ({ room, replayed }) => {
  if (room === NAMES) return;
  if (resumed === undefined) {
    count("resumes");
    resumed = { rooms: 0, replayed: 0, item: log("good", "") };
  }
  resumed.rooms += 1;
  resumed.replayed += replayed;
  resumed.item.lastChild.data = `Resumed ${many(resumed.rooms, "room")}, ${many(resumed.replayed, "message")} replayed`;
});
client.on("resync", ({ room, reason }) => {
  if (room === NAMES) return;
  count("resyncs");
  log("bad", `#${room} may have a hole (${reason})`);
  show(room, notice("Messages may be missing here"));
});
client.on("refused", ({ room, message }) => log("bad", `#${room}: ${message}`));
client.on("error", ({ code, message }) => log("bad", `${code}: ${message}`));
client.on("closed", ({ reason }) => log("bad", `Closed: ${reason}`));

client.subscribe(NAMES, { since: "0-0" }).on("message", ({ payload }) => {
  if (typeof payload?.session !== "string" || typeof payload.name !== "string") return;
  names.set(payload.session, payload.name);
  showPeople();
});
for (const room of new Set([...FIRST_ROOMS, current])) join(room);
open(current);
showState({ state: client.state });

element("name").value = me.name;
element("identity").addEventListener("submit", (event) => event.preventDefault());
element("name").addEventListener("change", () => {
  me.name = element("name").value.trim() || me.name;
  element("name").value = me.name;
  keep("chat.name", me.name);
  introduce();
});
element("join").addEventListener("submit", (event) => {
  event.preventDefault();
  const room = element("room").value.trim();
  element("room").value = "";
  if (room === "" || room === NAMES) return;
  join(room);
  open(room);
});
element("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = element("text").value.trim();
  element("text").value = "";
  if (text !== "") say(text);
});
for (const button of document.querySelectorAll(".views button")) {
  button.addEventListener("click", () => {
    document.body.dataset.view = button.dataset.view;
    for (const other of document.querySelectorAll(".views button")) other.setAttribute("aria-pressed", String(other === button));
  });
}

/** Tells the others who this session is. */
function introduce() {
  if (client.session === undefined) return;
  names.set(client.session, me.name);
  showPeople();
  client.publish(NAMES, { session: client.session, name: me.name }).catch(() => {});
}

/** Gets what was said lately, and from there on everything: no message falls between the two. */
async function join(room) {
  if (rooms.has(room)) return;
  rooms.set(room, { items: [], waiting: new Map(), unread: 0, subscription: undefined });
  showRooms();
  const { messages } = await client.history(room, { limit: HISTORY }).catch(() => ({ messages: [] }));
  for (const message of messages) said(room, message, false);
  const subscription = client.subscribe(room, { since: messages.at(-1)?.id ?? "0-0", presence: true });
  rooms.get(room).subscription = subscription;
  subscription.on("message", (message) => said(room, message, true));
  for (const name of ["presence", "join", "leave"]) subscription.on(name, () => room === current && showPeople());
}

function open(room) {
  current = room;
  history.replaceState(null, "", `#${encodeURIComponent(room)}`);
  rooms.get(room).unread = 0;
  element("title").textContent = room;
  element("messages").replaceChildren(...rooms.get(room).items);
  toTheEnd();
  showEmpty();
  showRooms();
  showPeople();
}

/** Shows the message at once; it is sent when there is a connection, and once only. */
async function say(text) {
  const room = current;
  const nonce = randomText();
  const item = message({ id: "", timestamp: Date.now(), payload: { from: me.id, name: me.name, text } }, room);
  item.classList.add("waiting");
  rooms.get(room).waiting.set(nonce, item);
  show(room, item);
  toTheEnd();
  try {
    await client.publish(room, { from: me.id, name: me.name, text, nonce }, { timeoutMs: 5 * 60_000 });
  } catch (error) {
    item.classList.replace("waiting", "failed");
    log("bad", `A message was not sent: ${error.message}`);
  }
}

/** A message came: ours takes the place of the one that was shown when it was sent. */
function said(room, { timestamp, payload }, live) {
  if (typeof payload?.text !== "string") return;
  const state = rooms.get(room);
  const waiting = state.waiting.get(payload.nonce);
  state.waiting.delete(payload.nonce);
  if (waiting !== undefined) {
    waiting.classList.remove("waiting", "failed");
    return;
  }
  show(room, message({ timestamp, payload }, room));
  if (live && room !== current) {
    state.unread += 1;
    showRooms();
  }
}

function show(room, item) {
  const state = rooms.get(room);
  if (state === undefined) return;
  state.items.push(item);
  if (room !== current) return;
  const list = element("messages");
  const atTheEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  list.append(item);
  showEmpty();
  if (atTheEnd) toTheEnd();
}

function message({ timestamp, payload }, room) {
  const before = rooms.get(room).items.at(-1)?.said;
  const name = typeof payload.name === "string" ? payload.name : "somebody";
  const from = payload.from ?? name;
  const item = make("li", "message");
  item.said = { from, timestamp };
  item.classList.toggle("mine", payload.from === me.id);
  item.classList.toggle("more", before?.from === from && timestamp - before.timestamp < 60_000);
  const head = make("span", "head");
  const time = make("time", "", new Date(timestamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = new Date(timestamp).toISOString();
  head.append(make("b", "", name), time);
  item.append(avatar(name), head, make("span", "body", payload.text));
  return item;
}

function showRooms() {
  const items = [...rooms].map(([room, { unread }]) => {
    const button = make("button", "", room);
    button.type = "button";
    button.setAttribute("aria-current", String(room === current));
    button.addEventListener("click", () => open(room));
    if (unread > 0) {
      const badge = make("span", "badge", String(unread));
      badge.setAttribute("aria-label", `${unread} unread`);
      button.append(badge);
    }
    const item = make("li", "");
    item.append(button);
    return item;
  });
  const focused = document.activeElement?.closest?.("#rooms button")?.textContent;
  element("rooms").replaceChildren(...items);
  if (focused !== undefined) items.find((item) => item.textContent === focused)?.firstChild.focus();
}

function showPeople() {
  const subscription = rooms.get(current)?.subscription;
  const members = subscription?.members ?? [];
  const called = ({ session, user }) => user ?? names.get(session) ?? `guest ${session.slice(0, 4)}`;
  const people = members.map((member) => ({ name: called(member), own: member.session === client.session }));
  people.sort((a, b) => Number(b.own) - Number(a.own) || a.name.localeCompare(b.name));
  const items = people.map(({ name, own }) => {
    const item = make("li", "");
    item.append(avatar(name), make("span", "", name));
    if (own) item.append(make("small", "", "you"));
    return item;
  });
  element("people").replaceChildren(...items);
  const number = subscription?.count ?? 0;
  element("count").textContent = String(number);
  element("here").textContent = number === 1 ? "1 person here" : `${number} people here`;
}

function showState({ state, retryInMs }) {
  const texts = { waiting: retryInMs === undefined ? "reconnecting" : `reconnecting in ${seconds(retryInMs)}` };
  element("state").dataset.state = state;
  element("state-text").textContent = texts[state] ?? state;
  element("node").textContent = client.node ?? "";
  element("node").hidden = client.node === undefined;
}

function showEmpty() {
  const list = element("messages");
  if (list.childElementCount === 0) list.append(make("li", "empty", "Nobody has said anything yet"));
  else if (list.childElementCount > 1) list.querySelector(".empty")?.remove();
}

function log(kind, text) {
  const item = make("li", "");
  item.dataset.kind = kind;
  item.append(make("time", "", new Date().toLocaleTimeString()), document.createTextNode(text));
  element("log").prepend(item);
  while (element("log").childElementCount > 200) element("log").lastElementChild.remove();
  return item;
}

function many(number, what) {
  return number === 1 ? `1 ${what}` : `${number} ${what}s`;
}

function count(id) {
  element(id).textContent = String(Number(element(id).textContent) + 1);
}

function notice(text) {
  return make("li", "notice", text);
}

function avatar(name) {
  const words = name.split(/\s+/).filter(Boolean);
  const item = make("span", "avatar", words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join(""));
  item.style.setProperty("--hue", String([...name].reduce((sum, letter) => (sum * 137 + letter.codePointAt(0) * 59) % 360, 0)));
  item.setAttribute("aria-hidden", "true");
  return item;
}

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className !== "") node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function toTheEnd() {
  const list = element("messages");
  list.scrollTop = list.scrollHeight;
}

function seconds(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** Kept for this tab: two tabs are two people. */
function kept(key, otherwise) {
  const value = sessionStorage.getItem(key) ?? otherwise();
  return keep(key, value);
}

function keep(key, value) {
  sessionStorage.setItem(key, value);
  return value;
}

function guestName() {
  const pick = (words) => words[crypto.getRandomValues(new Uint32Array(1))[0] % words.length];
  return `${pick(["Amber", "Brisk", "Calm", "Dusky", "Early", "Fern", "Gentle", "Hazel"])} ${pick(["Fox", "Heron", "Lynx", "Otter", "Owl", "Seal", "Wren", "Yak"])}`;
}

function randomText() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
