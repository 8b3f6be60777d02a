-- oldest-server: 20261128120000
--
-- The catalogue that every project begins with. The ids are for good: people's attempts and plans refer to them.
--
-- What belongs here helps somebody who is shy to practise one thing. It uses nobody: a stranger may always answer briefly
-- or not at all, and the text says what to do then. Nothing counts how many people said yes.

insert into public.approach_challenges (id, difficulty, points, title, description)
values
    ('c1a11e9e-0001-4000-8000-000000000001', 'BEGINNER', 5, 'A smile and a nod',
        'On a walk, greet five people who happen to look your way with a smile or a nod. Nobody owes you one '
        'back: whoever looks away is simply busy, and you walk on.'),
    ('c1a11e9e-0001-4000-8000-000000000002', 'BEGINNER', 5, 'Sit among people',
        'Spend twenty minutes in a café, a library or a park without phone and headphones. There is nothing to '
        'say. Notice how little anybody minds that you are there.'),
    ('c1a11e9e-0001-4000-8000-000000000003', 'BEGINNER', 10, 'Good morning, three times',
        'Say good morning to three people you meet anyway: a neighbour on the stairs, the bus driver, a colleague '
        'at the door. Say it loud enough to be heard, and look up.'),
    ('c1a11e9e-0001-4000-8000-000000000004', 'BEGINNER', 10, 'Order in a whole sentence',
        'Order at the counter instead of at a screen. Look up, say a whole sentence, and end it with please. If a '
        'queue waits behind you, keep it short.'),
    ('c1a11e9e-0001-4000-8000-000000000005', 'BEGINNER', 10, 'Thank you for this',
        'Thank somebody who helps you today, and say for what: "Thank you for explaining it twice." One sentence '
        'is enough, then let them get on with their work.'),
    ('c1a11e9e-0001-4000-8000-000000000006', 'BEGINNER', 10, 'Call instead of writing',
        'Make one short phone call that you would rather have replaced by a message: ask about opening hours, or '
        'book an appointment. Write down your first sentence before you dial.'),
    ('c1a11e9e-0001-4000-8000-000000000007', 'BEGINNER', 15, 'Ask for a recommendation',
        'In a bookshop, a library or a bakery that is not busy, ask somebody who works there what they would '
        'choose. Ask one question about the answer, thank them, and decide as you like.'),
    ('c1a11e9e-0001-4000-8000-000000000008', 'BEGINNER', 15, 'Find it by asking',
        'Choose a place you have never been to, and ask for the way instead of looking it up. An information desk '
        'is the easiest start. Listen to the end, repeat it in your own words, say thank you.'),
    ('c1a11e9e-0001-4000-8000-000000000009', 'BEGINNER', 20, 'Two open questions',
        'With your wingman, ask two questions that cannot be answered by yes or no, and listen without planning '
        'your next sentence. Then swap. Tell each other which answer surprised you.'),
    ('c1a11e9e-0001-4000-8000-000000000010', 'BEGINNER', 20, 'Ten minutes about here',
        'With your wingman, talk for ten minutes about nothing but what is around you: the place, the weather, '
        'the menu. Where it stalls, let it be quiet for a moment and go on.'),
    ('c1a11e9e-0002-4000-8000-000000000001', 'INTERMEDIATE', 25, 'A remark in the queue',
        'While waiting somewhere, make one friendly remark about something you both can see. If the answer is '
        'short, that was the whole conversation, and it went well.'),
    ('c1a11e9e-0002-4000-8000-000000000002', 'INTERMEDIATE', 25, 'A kind word about a choice',
        'Tell somebody that you like something they chose or did: their scarf, their question, the way they '
        'explained it. Never their body. Say it in passing, and expect nothing for it.'),
    ('c1a11e9e-0002-4000-8000-000000000003', 'INTERMEDIATE', 25, 'A small favour',
        'Ask for one small thing that you really need: a photo of you and your wingman, a free chair, the salt. '
        'Ask so that no is an easy answer, and be as friendly after a no as after a yes.'),
    ('c1a11e9e-0002-4000-8000-000000000004', 'INTERMEDIATE', 30, 'Leave it kindly',
        'Practise ends. In three conversations today be the one who closes: "It was good to talk to you, I have '
        'to go on." No excuse needed, no story invented.'),
    ('c1a11e9e-0002-4000-8000-000000000005', 'INTERMEDIATE', 30, 'Notice the signs',
        'A role play with your wingman: one plays somebody who would rather be left alone, by short answers, a '
        'turned shoulder, a look at the phone. The other notices, says something kind and goes. Swap twice.'),
    ('c1a11e9e-0002-4000-8000-000000000006', 'INTERMEDIATE', 35, 'Your name, and why you came',
        'At a class, a club or a meeting, tell one person your name and what brought you there, and ask them the '
        'same. Use what they tell you for one more question.'),
    ('c1a11e9e-0002-4000-8000-000000000007', 'INTERMEDIATE', 35, 'Is there room for one more?',
        'At a board game evening, a running group or a shared table, ask whether you may join. Stay as long as '
        'you like being there, and take "sorry, we are full" as nothing but that.'),
    ('c1a11e9e-0002-4000-8000-000000000008', 'INTERMEDIATE', 35, 'A friendly no',
        'Decline one small request that you would usually grant with a sinking heart. Say no in one sentence, '
        'without an invented excuse, and offer something else only if you want to.'),
    ('c1a11e9e-0002-4000-8000-000000000009', 'INTERMEDIATE', 40, 'Two minutes, one story',
        'Tell your wingman and one more person something that happened to you, in about two minutes, with a '
        'beginning and an end. Then ask for theirs, and do not top it.'),
    ('c1a11e9e-0002-4000-8000-000000000010', 'INTERMEDIATE', 40, 'Bring two people together',
        'Introduce your wingman to somebody you know, and name one thing that both of them like. Stay for the '
        'first minute. Ask both of them beforehand whether they would like that.'),
    ('c1a11e9e-0003-4000-8000-000000000001', 'ADVANCED', 50, 'Five minutes with somebody new',
        'At an event to which people come to meet each other, start a conversation and keep it going for five '
        'minutes. Watch whether you are asked something back. If not, thank them and go.'),
    ('c1a11e9e-0003-4000-8000-000000000002', 'ADVANCED', 50, 'One question in front of all',
        'At a talk, a reading or a meeting, ask one question aloud. Write it down first. It does not have to be '
        'clever: what you did not understand, others did not understand either.'),
    ('c1a11e9e-0003-4000-8000-000000000003', 'ADVANCED', 50, 'I see it differently',
        'When you disagree with somebody who is fine with talking about it, say so in one calm sentence, and then '
        'ask how they came to their view. You need not agree at the end.'),
    ('c1a11e9e-0003-4000-8000-000000000004', 'ADVANCED', 55, 'What I value in you',
        'Tell a friend, a relative or a colleague something that you appreciate about them, with the occasion on '
        'which you noticed it. Say it in person, in private, and without asking for anything.'),
    ('c1a11e9e-0003-4000-8000-000000000005', 'ADVANCED', 60, 'A plain apology',
        'Apologise to somebody for something small that you did: what it was, that you are sorry, what you will '
        'do differently. No because. They decide whether to answer.'),
    ('c1a11e9e-0003-4000-8000-000000000006', 'ADVANCED', 60, 'The first lesson',
        'Go to the first lesson of something you cannot do: dancing, climbing, a language. Be visibly bad at it, '
        'ask for help once, and laugh at least once at yourself and never at others.'),
    ('c1a11e9e-0003-4000-8000-000000000007', 'ADVANCED', 65, 'Would you like to come along?',
        'Ask somebody you already know a little to do something with you: a walk, a coffee, an exhibition. Say '
        'plainly that no is fine. The first answer is the answer, and you do not ask again.'),
    ('c1a11e9e-0003-4000-8000-000000000008', 'ADVANCED', 70, 'An hour of welcoming',
        'Help for an hour where people have to be greeted: at a charity shop, an open day, a community kitchen. '
        'Your part is that nobody who comes in stands there alone.'),
    ('c1a11e9e-0003-4000-8000-000000000009', 'ADVANCED', 75, 'Host a table',
        'Invite three people to a coffee or a game, one of whom the others do not know. Make sure that everybody '
        'is asked something and everybody has been heard before you part.'),
    ('c1a11e9e-0003-4000-8000-000000000010', 'ADVANCED', 80, 'One minute for many',
        'Speak for one minute to a group that you belong to: a toast, a thank-you, a poem at an open stage. '
        'Practise it twice with your wingman, then do it, however it turns out.');
