export * from "./gen/wingmanmatch/challenge/v1/challenge_pb.js";
export * from "./gen/wingmanmatch/challenge/v1/challenge_service_pb.js";
