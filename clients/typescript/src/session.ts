export * from "./gen/wingmanmatch/session/v1/session_pb.js";
export * from "./gen/wingmanmatch/session/v1/session_service_pb.js";
