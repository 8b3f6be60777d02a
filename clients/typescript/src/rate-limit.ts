export * from "./gen/wingmanmatch/ratelimit/v1/rate_limit_pb.js";
export * from "./gen/wingmanmatch/ratelimit/v1/rate_limit_service_pb.js";
