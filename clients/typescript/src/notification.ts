export * from "./gen/wingmanmatch/notification/v1/notification_pb.js";
export * from "./gen/wingmanmatch/notification/v1/notification_service_pb.js";
