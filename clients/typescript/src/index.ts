// What the package offers.

export { Client, type HistoryOptions, type PublishOptions, type RequestOptions, type SubscribeOptions } from "./client.js";
export { WsClusterError } from "./errors.js";
export type { Event, Events, Member, Message, State } from "./events.js";
export { SUBPROTOCOL } from "./frame.js";
export { compareIds, type MessageId } from "./id.js";
export type { Options, Socket, SocketConstructor, Token, TokenSource } from "./options.js";
export { type RoomEvents, Subscription } from "./subscription.js";
