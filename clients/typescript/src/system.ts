export * from "./gen/wingmanmatch/system/v1/system_pb.js";
export * from "./gen/wingmanmatch/system/v1/system_service_pb.js";
