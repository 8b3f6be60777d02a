-- Two people a mile apart for a local project, so that the first call finds somebody. `supabase db reset` runs this after
-- the migrations; a hosted project never gets it from `supabase db push`.
select public.upsert_profile(person)
from (
    values
        (jsonb_build_object(
            'user_id', '5f0c1d0e-6c1e-4d7e-9a52-0f4b8c1f0001', 'email', 'ada@example.org', 'first_name', 'Ada',
            'experience_level', 'BEGINNER', 'confidence_archetype', 'SCHOLAR',
            'location', jsonb_build_object('latitude', 48.2, 'longitude', 16.37))),
        (jsonb_build_object(
            'user_id', '5f0c1d0e-6c1e-4d7e-9a52-0f4b8c1f0002', 'email', 'ben@example.org', 'first_name', 'Ben',
            'experience_level', 'INTERMEDIATE', 'confidence_archetype', 'NATURALIST',
            'location', jsonb_build_object('latitude', 48.21, 'longitude', 16.38)))
) people (person);
