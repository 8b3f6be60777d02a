import { randomUUID } from "node:crypto";

import type { Wingman } from "../src/index.js";
import { ConfidenceArchetype, ExperienceLevel } from "../src/matching.js";

/** Create the profile of a new person at a place, and return who it is. */
export async function join(client: Wingman, firstName: string, latitude: number): Promise<string> {
  const userId = randomUUID();
  await client.matching.upsertProfile({
    profile: {
      userId,
      firstName,
      email: `${userId}@example.org`,
      experienceLevel: ExperienceLevel.BEGINNER,
      confidenceArchetype: ConfidenceArchetype.SCHOLAR,
      location: { latitude, longitude: 16.37 },
    },
  });
  return userId;
}
