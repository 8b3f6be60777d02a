export * from "./gen/wingmanmatch/matching/v1/matching_pb.js";
export * from "./gen/wingmanmatch/matching/v1/matching_service_pb.js";
