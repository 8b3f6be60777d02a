import { WingmanError, connect, items } from "@wingmanmatch/client";

const client = connect(process.env["WINGMANMATCH"] ?? "127.0.0.1:50051");
const [userId = ""] = process.argv.slice(2);

try {
  const { match, candidate } = await client.matching.requestMatch({ userId, venueSuggestion: "the park" });
  console.log(`${candidate?.firstName} is invited: ${match?.id}`);
} catch (error) {
  if (error instanceof WingmanError && error.reason === "NO_CANDIDATE") {
    console.log("Nobody is near.");
  } else {
    throw error;
  }
}

for await (const match of items(client.matching.listMatches, { userId, pageSize: 50 })) {
  console.log(match.id, match.state);
}

client.close();
