export * from "./gen/wingmanmatch/meetup/v1/meetup_pb.js";
export * from "./gen/wingmanmatch/meetup/v1/meetup_service_pb.js";
