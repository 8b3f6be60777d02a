export * from "./gen/wingmanmatch/coaching/v1/coaching_pb.js";
export * from "./gen/wingmanmatch/coaching/v1/coaching_service_pb.js";
