export { Code } from "@connectrpc/connect";
export type { CallOptions } from "@connectrpc/connect";

export { connect } from "./connect.js";
export type { ConnectOptions, TlsOptions, Wingman } from "./connect.js";
export { WingmanError } from "./errors.js";
export type { FieldViolation, Reason } from "./errors.js";
export { items } from "./items.js";
export type { WatchOptions, WatchRequest, WatchedEvent } from "./watch.js";
